"""The replay of loads, unloads and deaths, against a slow one that looks back from each event."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.timeline.events import Event, Kind, Source
from pytest_mme.timeline.residency import changes, deaths, departures, stays

MODELS = ("a", "b", "c")
SOURCES: tuple[Source, ...] = ("hosting", "client", "server")
MOVES = ("load", "unload", "evict")

moves = st.builds(
    Event,
    at_s=st.integers(0, 9).map(float),
    kind=st.sampled_from(MOVES),
    source=st.sampled_from(SOURCES),
    model=st.sampled_from((*MODELS, None)),
    outcome=st.sampled_from(("ok", "ok", "409", "507", "404", "cut off", "no answer")),
)
endings = st.builds(
    Event,
    at_s=st.integers(0, 9).map(float),
    kind=st.sampled_from(("crash", "oom")),
    source=st.just("server"),  # further observers: tests of `deaths`, and the simulator
    model=st.sampled_from((*MODELS, None)),
    outcome=st.just("SIGKILL"),
    detail=st.sampled_from(({}, {"models": "all"})),
)
others = st.builds(
    Event,
    at_s=st.integers(0, 9).map(float),
    kind=st.sampled_from(get_args(Kind)).filter(lambda kind: kind not in (*MOVES, "crash", "oom")),
    source=st.sampled_from(get_args(Source)),
    model=st.sampled_from((*MODELS, None)),
)
servers = st.lists(st.one_of(moves, moves, endings, others), max_size=25)


# A replay that is obviously right, and slow


def concerns(event: Event, model: str) -> bool | None:
    """Whether *model* is in memory after *event*; None where the event says nothing of that."""
    if event.model is None:
        ends = event.detail.get("models") == "all" or event.kind == "replace"
        return False if ends or (event.source == "engine" and event.kind in ("stop", "restart")) else None
    if event.model != model:
        return None
    if event.kind == "load" and event.outcome in ("ok", "409"):
        return True
    removed = event.kind in ("unload", "evict") and event.outcome in ("ok", "cut off")
    return False if removed or event.kind in ("crash", "oom") else None


def in_memory(events: Sequence[Event], model: str) -> bool:
    """By the last of *events* that says something of it."""
    return next((is_in for event in reversed(events) if (is_in := concerns(event, model)) is not None), False)


def credible(events: Sequence[Event]) -> list[Event]:
    """In order, and of each kind of move only what the observer nearest to the platform saw."""
    nearest = {
        kind: min((SOURCES.index(event.source) for event in events if event.kind == kind), default=0) for kind in MOVES
    }
    seen = (event for event in events if event.kind not in MOVES or SOURCES[nearest[event.kind]] == event.source)
    return sorted(seen, key=lambda event: (event.at_s, event.kind == "load"))


@given(servers)
def test_the_replay_agrees_with_looking_back_from_each_event(events: list[Event]) -> None:
    ordered = credible(events)
    expected = [
        (event.at_s, model, in_memory(ordered[: number + 1], model))
        for number, event in enumerate(ordered)
        for model in MODELS
        if in_memory(ordered[: number + 1], model) != in_memory(ordered[:number], model)
    ]
    found = [(change.event.at_s, change.model, change.resident) for change in changes(events)]
    assert sorted(found) == sorted(expected)
    assert [at_s for at_s, _, _ in found] == sorted(at_s for at_s, _, _ in expected)


@given(servers)
def test_a_model_is_in_memory_at_most_once_at_a_time(events: list[Event]) -> None:
    for model in MODELS:
        mine = [stay for stay in stays(events) if stay.model == model]
        assert all(stay.came_s <= stay.left_s for stay in mine)
        assert all(earlier.left_s <= later.came_s for earlier, later in itertools.pairwise(mine))


@given(servers)
def test_the_stays_that_have_not_ended_are_the_models_in_memory_at_the_end(events: list[Event]) -> None:
    open_ended = [stay.model for stay in stays(events) if stay.left is None]
    assert sorted(open_ended) == [model for model in MODELS if in_memory(credible(events), model)]


@given(servers)
def test_each_stay_ends_with_a_departure_from_its_own_memory(events: list[Event]) -> None:
    reported = {id(event) for event in departures(events)}
    for stay in stays(events):
        if stay.left is not None:
            assert id(stay.left) in reported
            assert concerns(stay.left, stay.model) is False


@given(servers, st.randoms(use_true_random=False))
def test_the_order_in_which_events_are_given_does_not_matter_where_their_times_differ(
    events: list[Event], random: Random
) -> None:
    apart = [dataclasses.replace(event, at_s=float(number)) for number, event in enumerate(events)]
    shuffled = random.sample(apart, len(apart))
    assert stays(shuffled) == stays(apart)


# One case each


def move(kind: Kind, at_s: float, model: str | None = "a", source: Source = "hosting", outcome: str = "ok") -> Event:
    return Event(kind=kind, source=source, at_s=at_s, model=model, outcome=outcome)


def test_an_eviction_and_its_unload_are_one_departure() -> None:
    evict, unload = move("evict", 2.0), move("unload", 2.1)
    (stay,) = stays([move("load", 1.0), evict, unload])
    assert (stay.came_s, stay.left, stay.left_s) == (1.0, evict, 2.0)


@pytest.mark.parametrize(("outcome", "came"), [("ok", [1.0]), ("409", [1.0]), ("500", [])])
def test_only_a_load_after_which_the_model_is_there_brings_it(outcome: str, came: list[float]) -> None:
    assert [stay.came_s for stay in stays([move("load", 1.0, outcome=outcome)])] == came


def test_a_second_load_of_a_model_in_memory_does_not_begin_a_new_stay() -> None:
    (stay,) = stays([move("load", 1.0), move("load", 2.0, outcome="409")])
    assert stay.came_s == 1.0


def test_a_server_that_stops_takes_all_its_models_out_of_memory() -> None:
    stop = move("stop", 3.0, None, "engine")
    found = stays([move("load", 1.0), move("load", 2.0, "b"), stop, move("load", 4.0, "b")])
    assert [(stay.model, stay.came_s, stay.left) for stay in found] == [
        ("a", 1.0, stop),
        ("b", 2.0, stop),
        ("b", 4.0, None),
    ]


@pytest.mark.parametrize("event", [move("sample", 3.0, None, "engine"), move("stop", 3.0, None, "client")])
def test_only_an_engine_that_stopped_takes_models_out_of_memory(event: Event) -> None:
    assert [stay.left for stay in stays([move("load", 1.0), event])] == [None]


def test_at_one_moment_models_leave_before_others_come() -> None:
    before, load, unload = move("load", 0.0), move("load", 1.0, "b"), move("unload", 1.0)
    assert [change.model for change in changes([before, load, unload])] == ["a", "a", "b"]


def test_the_servers_view_of_a_load_that_the_platform_saw_is_not_a_second_one() -> None:
    events = [move("load", 1.0), move("unload", 2.0), move("load", 2.1, source="server")]
    assert [stay.left_s for stay in stays(events)] == [2.0]


def died(at_s: float, source: Source = "server", model: str | None = "a", **detail: str) -> Event:
    kind: Kind = "oom" if source == "engine" else "crash"
    return Event(kind=kind, source=source, at_s=at_s, model=model, outcome="SIGKILL", detail=detail)


def test_a_death_that_several_observers_report_is_one() -> None:
    reports = [died(3.0), died(3.1, "engine"), died(3.0, "probe"), died(7.0)]
    assert deaths([move("load", 1.0), *reports]) == [died(3.0)]


@pytest.mark.parametrize("late_s", [3.3, 4.0])
def test_a_late_report_of_a_death_does_not_end_the_model_that_was_loaded_anew(late_s: float) -> None:
    events = [move("load", 1.0), died(3.0), move("load", 3.2), died(late_s, "engine")]
    assert deaths(events) == [died(3.0)]
    assert [stay.left for stay in stays(events)] == [died(3.0), None]


def test_a_late_report_is_of_the_first_death_that_its_observer_has_not_reported() -> None:
    first, second = died(3.0), died(3.5)
    loads = [move("load", at_s) for at_s in (1.0, 3.2, 3.8)]
    assert deaths([*loads, first, second, died(3.9, "engine"), died(4.2, "engine")]) == [first, second]


@pytest.mark.parametrize("again", [died(3.3), died(4.1, "engine")], ids=["same observer", "much later"])
def test_a_model_that_was_loaded_anew_dies_again(again: Event) -> None:
    assert deaths([move("load", 1.0), died(3.0), move("load", 3.2), again]) == [died(3.0), again]


def test_a_model_without_loads_dies_again_after_a_reply() -> None:
    reply = Event(kind="invoke", source="test", at_s=5.0, seconds=0.5, model="a")
    assert deaths([died(3.0), died(6.0), move("load", 7.0)]) == [died(3.0)]
    assert deaths([died(3.0), reply, died(6.0)]) == [died(3.0), died(6.0)]


def test_a_server_that_was_started_again_ends_again() -> None:
    ends = [died(at_s, "engine", None, models="all") for at_s in (3.0, 6.0)]
    assert deaths([move("load", 1.0), ends[0], move("load", 5.0), ends[1]]) == ends
    assert deaths([move("load", 1.0), *ends]) == ends[:1]


def test_the_end_of_the_whole_server_is_another_death_than_that_of_one_model() -> None:
    whole = died(3.1, "engine", None, models="all")
    assert deaths([move("load", 1.0), died(3.0), whole]) == [died(3.0), whole]
