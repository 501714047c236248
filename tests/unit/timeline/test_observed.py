"""Whose requests they are, and which tries are one call, by hand-written events."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.timeline.events import NO_ANSWER, NO_PREDICTION, Event, Timeline, ahead_of, clock
from pytest_mme.timeline.observed import by_instance, calls, is_bad_request, joined, requests, served


def tried(
    began_s: float, at_s: float, outcome: str = "ok", number: int | None = 1, model: str = "a", **ids: str
) -> Event:
    detail: dict[str, Any] = {**ids, **({} if number is None else {"attempt": f"attempt={number}; max=5"})}
    return Event(
        kind="attempt",
        source="hosting",
        at_s=at_s,
        seconds=at_s - began_s,
        outcome=outcome,
        model=model,
        detail=detail,
    )


def called(began_s: float, at_s: float, outcome: str = "ok", model: str = "a", **detail: str) -> Event:
    return Event(
        kind="invoke",
        source="test",
        at_s=at_s,
        seconds=at_s - began_s,
        outcome=outcome,
        model=model,
        detail=detail,
    )


def times(events: list[Event]) -> list[tuple[float, float, str]]:
    return [(round(one.began_s, 3), one.at_s, one.outcome) for one in events]


def test_the_tries_of_a_call_are_one_that_ended_as_the_last_did() -> None:
    tries = [tried(1, 2, "429"), tried(3, 4, "500", 2), tried(5, 6, "ok", 3)]
    assert times(calls(tries)) == [(1, 6, "ok")]
    assert times(calls(tries[::-1])) == [(1, 6, "ok")]


@pytest.mark.parametrize(
    "second",
    [
        tried(1.5, 3, "ok", 2),  # it began while the first was under way
        tried(3, 4, "ok", 3),  # the second is missing
        tried(3, 4, "ok", 2, model="b"),
        tried(3, 4, "ok", 1),
        tried(3, 4, "ok", None),
    ],
)
def test_a_try_that_cannot_follow_is_a_call_of_its_own(second: Event) -> None:
    assert len(calls([tried(1, 2, "429"), second])) == 2


def test_nobody_tries_again_after_a_success() -> None:
    assert len(calls([tried(1, 2), tried(3, 4, "ok", 2)])) == 2


def test_a_second_try_belongs_to_the_call_that_waits_for_one() -> None:
    tries = [tried(1, 2, "429"), tried(1.2, 2.2, "429"), tried(3, 4, "ok", 2), tried(3.1, 4.1, "500", 2)]
    assert sorted(times(calls(tries))) == [(1, 4.1, "500"), (1.2, 4, "ok")]


def test_an_invocation_joins_tries_whatever_their_times() -> None:
    tries = [
        tried(1, 2, "429", invocation="x"),
        tried(1.1, 1.2, invocation="y"),
        tried(1.5, 3, number=2, invocation="x"),
    ]
    assert sorted(times(calls(tries))) == [(1, 3, "ok"), (1.1, 1.2, "ok")]


def test_a_call_of_the_kit_and_its_try_are_one_request() -> None:
    ours, inside = called(1, 4), tried(1.01, 3.99)
    assert requests([ours, inside]) == [ours]
    assert len(requests([called(1, 1.003), tried(1.001, 1.002)])) == 1
    assert requests([ours, tried(1.01, 3.99, model="b")], ["b"]) != []
    assert len(requests([ours, inside, tried(2, 3)])) == 2


@pytest.mark.parametrize(
    ("ended", "tries", "number"),
    [
        ("ok", "424 ModelError", 2),
        ("ModelError", "ok", 2),
        ("ModelError", "424 ModelError", 1),
        (NO_PREDICTION, "ok", 1),
        (NO_ANSWER, "ok", 1),
        (NO_ANSWER, "424 ModelError", 1),
    ],
)
def test_a_try_that_ended_otherwise_is_not_the_calls(ended: str, tries: str, number: int) -> None:
    assert len(requests([called(1, 4, ended), tried(1.01, 3.99, tries)])) == number


@pytest.mark.parametrize("inside", [tried(0.5, 3), tried(2, 4.5)])
def test_a_try_that_lasted_longer_than_a_call_is_not_the_calls(inside: Event) -> None:
    assert len(requests([called(1, 4), inside])) == 2


def test_the_id_of_its_reply_says_which_try_is_a_calls() -> None:
    ours = called(1, 4, request="r-1")
    assert requests([ours, tried(1.01, 3.99, request="r-1")]) == [ours]
    assert len(requests([ours, tried(1.01, 3.99, request="r-2")])) == 2


def test_where_nobody_called_the_server_has_the_requests() -> None:
    seen = dataclasses.replace(called(1, 2), source="server")
    assert requests([seen]) == [seen]
    assert requests([seen, called(1, 2.1)]) == [called(1, 2.1)]


def test_what_was_worked_on_is_what_a_process_had() -> None:
    seen = dataclasses.replace(called(1, 4), source="server")
    worked = dataclasses.replace(seen, detail={"queued_s": 1.0, "worked_s": 1.5})
    assert times(served([worked, seen])) == [(2, 3.5, "ok")]
    assert served([seen, dataclasses.replace(seen, outcome="500")]) == [seen]


@pytest.mark.parametrize(
    ("outcome", "detail", "bad"),
    [
        ("400", {}, True),
        ("422", {}, True),
        ("404", {}, False),
        ("400 ValidationError", {}, False),
        ("424 ModelError", {"status": 400}, True),
        ("424 ModelError", {"status": 500}, False),
        ("400", {"expected": {}}, False),
    ],
)
def test_a_request_is_bad_by_the_servers_status_unless_its_answer_is_known(
    outcome: str, detail: dict[str, Any], bad: bool
) -> None:
    assert is_bad_request(dataclasses.replace(called(1, 2, outcome), detail=detail)) is bad


def test_events_without_an_instance_are_those_of_every_instance() -> None:
    one, two = (dataclasses.replace(called(1, 2), instance=name) for name in ("i-1", "i-2"))
    whole = called(3, 4)
    assert by_instance([one, two, whole]) == [[one, whole], [two, whole]]
    assert by_instance([whole]) == [[whole]]


def test_a_timeline_gives_the_events_of_one_server() -> None:
    events = [dataclasses.replace(called(1, 2), server=name) for name in ("a", "b", "c")]
    assert Timeline(events).of("b") == (events[1],)


def test_clocks_of_one_boot_are_the_same() -> None:
    assert ahead_of(clock()) == 0.0
    assert ahead_of({"boot": "another", "now_s": clock()["now_s"] - 100}) == pytest.approx(100, abs=10)


def test_clocks_of_systems_without_a_boots_id_are_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert clock()["boot"] is None
    assert ahead_of({"boot": None, "now_s": clock()["now_s"] - 100}) == pytest.approx(100, abs=10)


def test_spans_that_overlap_or_touch_are_one() -> None:
    spans = [(3.0, 4.0), (0.0, 1.0), (6.0, 9.0), (1.0, 2.0), (7.0, 8.0), (3.5, 5.0)]
    assert joined(spans) == [(0.0, 2.0), (3.0, 5.0), (6.0, 9.0)]
