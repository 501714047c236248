"""Checks, with hand-written events: what passes, what fails and with which words, what has nothing to judge."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_mme.checks import check_answers, check_evicted, check_resident
from pytest_mme.timeline.events import Event, Kind, Source


def event(at_s: float, kind: Kind, model: str | None = None, outcome: str = "ok", **detail: Any) -> Event:
    source: Source = "test" if kind == "invoke" else "hosting"
    return Event(at_s=at_s, kind=kind, source=source, model=model, outcome=outcome, detail=detail)


LOADS = [event(1.0, "load", "a"), event(2.0, "load", "b")]
EVICTION = [*LOADS, event(3.0, "evict", "a", room_for="c"), event(3.1, "unload", "a"), event(3.2, "load", "c")]


def test_check_evicted_fails_for_a_model_that_was_not_evicted() -> None:
    check_evicted(EVICTION, "a")
    check_evicted(EVICTION, "a.tar.gz")
    with pytest.raises(AssertionError, match=r"^b was not evicted; evictions: a at 3.00 s for c$"):
        check_evicted(EVICTION, "a", "b")
    with pytest.raises(AssertionError, match=r"^a was not evicted; evictions: none was recorded$"):
        check_evicted(LOADS, "a")
    with pytest.raises(AssertionError, match="check_evicted needs at least one model"):
        check_evicted(EVICTION)


def test_check_resident_fails_for_a_model_that_left_or_never_came() -> None:
    check_resident(EVICTION, "b", "c")
    with pytest.raises(AssertionError, match=r"^a is not resident \(a: evict at 3.00 s\); resident: b, c$"):
        check_resident(EVICTION, "a", "b")
    with pytest.raises(AssertionError, match=r"d: never loaded"):
        check_resident(EVICTION, "d")
    with pytest.raises(AssertionError, match="no load was recorded"):
        check_resident([], "a")
    with pytest.raises(AssertionError, match="check_resident needs at least one model"):
        check_resident(EVICTION)


@pytest.mark.parametrize("kind", ["crash", "oom"])
def test_a_dead_model_is_not_resident(kind: Kind) -> None:
    with pytest.raises(AssertionError, match=f"a: {kind} at 3.00 s"):
        check_resident([*LOADS, event(3.0, kind, "a", "SIGKILL")], "a")


@pytest.mark.parametrize(("outcome", "resident"), [("507", False), ("500", False), ("409", True)])
def test_a_model_whose_load_failed_is_not_resident(outcome: str, resident: bool) -> None:
    events = [event(1.0, "load", "b"), event(2.0, "load", "a", outcome)]
    if resident:
        check_resident(events, "a")
    else:
        with pytest.raises(AssertionError, match="a: never loaded"):
            check_resident(events, "a")


def test_events_in_another_order_are_judged_by_their_times() -> None:
    check_resident([event(3.0, "load", "a"), event(2.0, "unload", "a"), event(1.0, "load", "a")], "a")


def test_an_eviction_alone_takes_a_model_out_of_memory() -> None:
    with pytest.raises(AssertionError, match=r"^a is not resident \(a: evict at 3.00 s\); resident: b$"):
        check_resident([*LOADS, event(3.0, "evict", "a")], "a")


def test_the_end_of_a_server_is_not_why_a_model_left_that_was_gone_before() -> None:
    stop = Event(at_s=5.0, kind="stop", source="engine")
    with pytest.raises(AssertionError, match=r"^a is not resident \(a: evict at 3.00 s\); resident: none$"):
        check_resident([*EVICTION, stop], "a")


def test_the_unload_of_a_dead_models_remains_is_not_why_it_left() -> None:
    with pytest.raises(AssertionError, match=r"\(a: crash at 3.00 s\)"):
        check_resident([*LOADS, event(3.0, "crash", "a", "SIGKILL"), event(4.0, "unload", "a")], "a")


def test_a_model_whose_unload_failed_is_resident() -> None:
    check_resident([*LOADS, event(3.0, "unload", "a", "404")], "a")


RIGHT: dict[str, Any] = {
    "expected": {"identity": "a/1#0", "value": [2.0]},
    "got": {"identity": "a/1#0", "y": [2.0000001]},
}


def test_check_answers_passes_right_predictions_and_fails_without_any() -> None:
    check_answers([event(1.0, "invoke", "a", **RIGHT)])
    with pytest.raises(
        AssertionError,
        match=r"^0 predictions with a known expected value, and at least 1 must have been recorded; requests: 1$",
    ):
        check_answers([event(1.0, "invoke", "a")])
    with pytest.raises(AssertionError, match="at least 2 must have been recorded"):
        check_answers([event(1.0, "invoke", "a", **RIGHT)], at_least=2)


def test_a_prediction_that_another_model_must_give_for_the_same_is_said_to_be_its() -> None:
    known: dict[str, Any] = {"whole": True, "tolerance": [1e-5, 1e-6], "outputs": {}}
    crossed = event(1.0, "invoke", "a", x=[1.0], expected={"identity": "a", "value": [2.0], **known}, got=[3.0])
    b: dict[str, Any] = {"expected": {"identity": "b", "value": [3.0], **known}, "got": [3.0]}
    with pytest.raises(AssertionError, match=r"a answered \[3.0\] \(that is b's\), not \[2.0\]"):
        check_answers([crossed, event(2.0, "invoke", "b", x=[1.0], **b)])
    with pytest.raises(AssertionError, match=r"a answered \[3.0\], not \[2.0\]"):
        check_answers([crossed, event(2.0, "invoke", "b", x=[2.0], **b)])


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (
            {"identity": "b/1#0", "y": [2.0]},
            r"1 of 2 predictions are wrong:\n  at 2.00 s a answered .* \(that is b/1#0's\)",
        ),
        ({"identity": "a/1#0", "y": [3.0]}, r"a answered .*3.0.*, not {.identity.*2.0"),
        ([2.0], r"a answered \[2.0\], not {.identity.*2.0"),
        ({"identity": "a", "y": [2.0]}, r"a answered {'identity': 'a', 'y': \[2.0\]}, not"),
    ],
)
def test_wrong_predictions_are_shown_beside_the_right_ones(got: object, words: str) -> None:
    wrong = {**RIGHT, "got": got}
    with pytest.raises(AssertionError, match=words):
        check_answers([event(1.0, "invoke", "a", **RIGHT), event(2.0, "invoke", "a", **wrong)])


@pytest.mark.parametrize(
    "end",
    [
        Event(at_s=5.0, kind="stop", source="engine"),
        Event(at_s=5.0, kind="crash", source="engine", outcome="exit 137", detail={"models": "all"}),
        Event(at_s=5.0, kind="oom", source="engine", outcome="exit 137", detail={"models": "all"}),
        Event(at_s=5.0, kind="crash", source="server", outcome="zygote -9", detail={"models": "all"}),
        Event(at_s=5.0, kind="replace", source="hosting"),
    ],
)
def test_nothing_is_resident_on_a_server_that_ended(end: Event) -> None:
    with pytest.raises(AssertionError, match=rf"b is not resident \(b: {end.kind} at 5.00 s\); resident: none"):
        check_resident([*EVICTION, end], "b")
    check_resident([*EVICTION, end, event(6.0, "load", "b")], "b")


def test_the_end_of_a_process_that_holds_no_model_leaves_models_resident() -> None:
    handler = Event(at_s=5.0, kind="crash", source="server", outcome="SIGKILL", detail={"pid": 1})
    check_resident([*EVICTION, handler], "b")


def test_a_model_must_be_resident_on_each_server_that_had_loaded_it() -> None:
    gone = [dataclasses.replace(one, server="other") for one in EVICTION]
    events = [*(dataclasses.replace(one, server="one") for one in LOADS), *gone]
    check_resident(events, "b", "c")
    with pytest.raises(AssertionError, match=r"\(a: load at 1.00 s on one, evict at 3.00 s on other\)"):
        check_resident(events, "a")


def test_a_model_is_resident_when_one_instance_of_the_endpoint_has_it() -> None:
    gone = [dataclasses.replace(one, instance="other") for one in EVICTION]
    check_resident([*(dataclasses.replace(one, instance="one") for one in LOADS), *gone], "a")
