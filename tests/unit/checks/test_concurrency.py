"""What happened at the same time, by hand-written events."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_mme.checks import check_concurrent, check_loads_once
from pytest_mme.timeline.events import Event, Kind, Source


def invoke(began_s: float, at_s: float, model: str = "a", source: Source = "test") -> Event:
    return Event(kind="invoke", source=source, at_s=at_s, seconds=at_s - began_s, model=model)


def move(kind: Kind, at_s: float, model: str = "a", outcome: str = "ok", source: Source = "hosting") -> Event:
    return Event(kind=kind, source=source, at_s=at_s, model=model, outcome=outcome)


OVERLAP = [invoke(0.0, 1.0, source="server"), invoke(0.5, 1.5, "b", "server"), invoke(0.9, 2.0, source="server")]


def test_requests_that_overlap_are_concurrent() -> None:
    check_concurrent(OVERLAP, at_least=3)
    check_concurrent(OVERLAP, "a")
    with pytest.raises(
        AssertionError,
        match=r"^at most 3 of 3 requests were worked on at once, at 0.90 s; at least 4 must be$",
    ):
        check_concurrent(OVERLAP, at_least=4)
    with pytest.raises(AssertionError, match="at most 1 of 1 request "):
        check_concurrent(OVERLAP, "b")


def test_a_request_that_begins_as_another_ends_is_not_concurrent() -> None:
    with pytest.raises(AssertionError, match="at most 1 of 2"):
        check_concurrent([invoke(0.0, 1.0, source="server"), invoke(1.0, 2.0, source="server")])


def test_without_requests_concurrency_cannot_be_judged() -> None:
    with pytest.raises(AssertionError, match="no request to any model succeeded"):
        check_concurrent([])
    with pytest.raises(AssertionError, match="no request to c succeeded"):
        check_concurrent(OVERLAP, "c")


def test_requests_that_only_callers_saw_may_have_waited_in_a_queue() -> None:
    seen = [invoke(0.0, 1.0), invoke(0.0, 2.0)]
    check_concurrent(seen, at_least=1)
    with pytest.raises(
        AssertionError, match=r"^only the callers saw these requests, and they cannot tell waiting from"
    ):
        check_concurrent(seen)


def test_the_servers_view_of_requests_is_judged_where_there_is_one() -> None:
    callers = [invoke(0.0, 2.0), invoke(0.0, 2.0)]
    with pytest.raises(AssertionError, match=r"at most 1 of 3 "):
        check_concurrent([*callers, *(invoke(start, start + 0.4, source="server") for start in (0.0, 0.5, 1.0))])


def test_a_request_counts_from_when_a_process_had_it() -> None:
    waited = [
        dataclasses.replace(one, detail={"queued_s": 0.0 if one.began_s == 0.0 else 0.6, "worked_s": 0.5})
        for one in (OVERLAP[0], OVERLAP[2])
    ]
    refused = invoke(0.0, 2.0, source="server")  # it never reached a process
    with pytest.raises(AssertionError, match=r"^at most 1 of 2 requests were worked on at once"):
        check_concurrent([*waited, refused])
    check_concurrent([*waited, dataclasses.replace(OVERLAP[1], detail={"queued_s": 0.2, "worked_s": 0.9}), refused])


def test_requests_to_two_servers_are_not_concurrent() -> None:
    with pytest.raises(AssertionError, match=r"^at most 1 of 2 requests were worked on at once, at 0.00 s on one;"):
        check_concurrent(
            [dataclasses.replace(one, server=name) for one, name in zip(OVERLAP[:2], ("one", "other"), strict=True)]
        )


def test_at_least_no_request_is_nothing_to_judge() -> None:
    with pytest.raises(AssertionError, match=r"^at_least=0 judges nothing"):
        check_concurrent(OVERLAP, at_least=0)


ONCE = [move("download", 0.5), move("load", 1.0)]
TOGETHER = [invoke(0.0, 1.1), invoke(0.1, 1.2), invoke(2.0, 2.1)]


def test_one_load_for_requests_that_came_together_passes() -> None:
    check_loads_once([*TOGETHER, *ONCE])
    check_loads_once([*TOGETHER, *ONCE], "a")


@pytest.mark.parametrize(
    "other",
    [
        [move("download", -0.5, outcome="ValidationError")],
        [move("download", 0.0, outcome="ValidationError")],
        [move("unload", 3.0), move("load", 3.0)],
    ],
    ids=["before", "as the first request began", "as it left"],
)
def test_what_happened_before_the_requests_or_after_the_model_left_is_not_a_second_load(other: list[Event]) -> None:
    check_loads_once([*TOGETHER, *ONCE, *other])


@pytest.mark.parametrize("ended_s", [0.51, 0.6])
def test_a_request_that_failed_while_another_waited_came_together_with_it(ended_s: float) -> None:
    failed = dataclasses.replace(invoke(0.0, ended_s), outcome="ModelError")
    check_loads_once([failed, invoke(0.5, 1.1), *ONCE])
    with pytest.raises(AssertionError, match=r"^a: 2 downloads .* for 2 requests"):
        check_loads_once([failed, invoke(0.5, 1.1), move("download", 0.4), *ONCE])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([move("load", 1.05)], r"^a: 2 loads \(at 1.00 s, 1.05 s\) for 2 requests that came together$"),
        ([move("download", 0.6)], r"^a: 2 downloads \(at 0.50 s, 0.60 s\) for 2 requests"),
        ([move("load", 1.05, outcome="409"), move("download", 0.6)], r"^a: 2 downloads .* and 2 loads "),
    ],
)
def test_two_loads_or_downloads_for_requests_that_came_together_fail(more: list[Event], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_loads_once([*TOGETHER, *ONCE, *more])


def test_a_load_that_failed_for_one_of_those_that_came_together_counts() -> None:
    failed = [move("load", 0.4, outcome="500"), *ONCE, invoke(0.0, 0.5), invoke(0.3, 1.1)]
    with pytest.raises(AssertionError, match=r"^a: 2 loads \(at 0.40 s, 1.00 s\) for 2 requests that came together$"):
        check_loads_once(failed)


def test_a_request_that_came_as_another_had_ended_is_not_together_with_it() -> None:
    with pytest.raises(AssertionError, match="no model had two requests"):
        check_loads_once([*ONCE, invoke(0.0, 0.304), invoke(0.3, 1.1)])


def test_a_request_that_began_as_the_model_left_waits_for_its_next_load() -> None:
    again = [move("unload", 3.0), invoke(3.0, 4.1), invoke(3.5, 4.1), move("load", 4.0), move("load", 4.05)]
    with pytest.raises(AssertionError, match=r"^a: 2 loads \(at 4.00 s, 4.05 s\)"):
        check_loads_once([*ONCE, *again])


def test_a_load_after_an_eviction_is_not_a_second_one() -> None:
    check_loads_once([*TOGETHER, *ONCE, move("evict", 3.0), move("unload", 3.0), move("load", 4.0)])


@pytest.mark.parametrize("at_s", [0.9, 1.02])
def test_an_unload_that_failed_hides_no_second_load(at_s: float) -> None:
    with pytest.raises(AssertionError, match=r"^a: 2 loads"):
        check_loads_once([*TOGETHER, *ONCE, move("load", 1.05), move("unload", at_s, outcome="404")])


def test_an_unload_before_the_first_load_hides_no_second_load() -> None:
    with pytest.raises(AssertionError, match=r"^a: 2 loads"):
        check_loads_once([*TOGETHER, *ONCE, move("load", 1.05), move("unload", 0.2)])


def test_the_servers_and_the_clients_report_of_a_load_is_not_a_second_one() -> None:
    check_loads_once([*TOGETHER, *ONCE, move("load", 1.0, source="server"), move("load", 1.0, source="client")])


@pytest.mark.parametrize(
    ("events", "models", "message"),
    [
        ([], (), "no model had two requests that waited for one load"),
        ([*ONCE, invoke(0.0, 1.1)], (), "no model had two requests"),
        ([*ONCE, move("load", 1.1, outcome="409")], (), "no model had two requests"),
        ([*ONCE, invoke(0.0, 1.1), invoke(1.0, 1.1)], (), "no model had two requests"),  # one began as it came
        ([*ONCE, *TOGETHER], ("a", "b"), "^b did not have two requests that waited for one load of it$"),
    ],
)
def test_without_requests_that_came_together_loads_cannot_be_judged(
    events: list[Event], models: Any, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check_loads_once(events, *models)


def test_a_load_that_failed_for_lack_of_room_does_not_count() -> None:
    check_loads_once([*TOGETHER, *ONCE, move("load", 0.7, outcome="507")])


def test_models_of_one_name_on_two_endpoints_are_judged_apart() -> None:
    events = [dataclasses.replace(event, server=name) for name in ("one", "other") for event in (*TOGETHER, *ONCE)]
    check_loads_once(events, "a")
