"""Evictions and what was in memory, by hand-written events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from pytest_mme.checks import check_capacity, check_evictions, check_fifo, check_lfu, check_lru, check_no_thrash
from pytest_mme.timeline.events import Event, Kind


def request(model: str, began_s: float, at_s: float | None = None) -> Event:
    at_s = began_s + 0.1 if at_s is None else at_s
    return Event(kind="invoke", source="test", at_s=at_s, seconds=at_s - began_s, model=model)


def move(kind: Kind, model: str, at_s: float, outcome: str = "ok") -> Event:
    return Event(kind=kind, source="hosting", at_s=at_s, seconds=0.01, model=model, outcome=outcome)


def evicted(model: str, at_s: float) -> list[Event]:
    return [move("evict", model, at_s), move("unload", model, at_s)]


# a is loaded first and used most; b is loaded later and used last; a or b has to go for c
USED = [
    *(request("a", 0.0, 1.1), move("load", "a", 1.0), request("b", 1.2, 2.1), move("load", "b", 2.0)),
    *(request("a", 3.0), request("a", 4.0), request("b", 5.0)),
]
AFTERWARDS = [request("c", 6.0, 7.1), move("load", "c", 7.0)]
A_GOES = [*USED, *evicted("a", 6.5), *AFTERWARDS]
B_GOES = [*USED, *evicted("b", 6.5), *AFTERWARDS]


@pytest.mark.parametrize(
    ("check", "right", "wrong", "message"),
    [
        (check_lru, A_GOES, B_GOES, "at 6.49 s b went, and the least recently used was a"),
        (check_fifo, A_GOES, B_GOES, "at 6.49 s b went, and the one that was loaded first was a"),
        (check_lfu, B_GOES, A_GOES, "at 6.49 s a went, and the least frequently used was b"),
    ],
)
def test_each_policy_passes_its_own_evictions_and_fails_others(
    check: Callable[..., None], right: list[Event], wrong: list[Event], message: str
) -> None:
    check([*right, move("load", "a", 9.0), move("load", "b", 9.1)])
    with pytest.raises(AssertionError, match=f"^1 of 1 eviction: {message}$"):
        check(wrong)


@pytest.mark.parametrize("check", [check_lru, check_fifo, check_lfu])
def test_without_an_eviction_that_had_a_choice_a_policy_fails(check: Callable[..., None]) -> None:
    came_just_now = [move("load", "a", 1.0), move("load", "b", 1.99), *evicted("b", 2.0)]
    came_a_moment_before = [move("load", "a", 1.0), move("load", "b", 1.987), *evicted("a", 2.0)]
    left_a_moment_after = [
        *(move("load", "a", 1.0), move("load", "b", 1.5), move("unload", "b", 1.993)),
        *evicted("a", 2.0),
    ]
    for events in (
        *([], USED, [*USED[:2], *evicted("a", 2.0)]),
        *(came_just_now, came_a_moment_before, left_a_moment_after),
    ):
        with pytest.raises(AssertionError, match="no eviction had a choice of two models or more"):
            check(events)


@pytest.mark.parametrize(("check", "goes"), [(check_fifo, A_GOES), (check_lfu, B_GOES)])
def test_a_load_of_a_model_in_memory_does_not_count_as_its_load(check: Callable[..., None], goes: list[Event]) -> None:
    check([*goes, move("load", "a", 5.5, "409")])


def test_a_model_with_a_request_under_way_could_not_go() -> None:
    busy = [*B_GOES, request("a", 6.2, 8.0)]
    with pytest.raises(AssertionError, match="no eviction had a choice"):
        check_lru(busy)


def test_a_model_that_had_died_could_not_go() -> None:
    died = Event(kind="crash", source="server", at_s=5.5, model="a", outcome="SIGKILL")
    with pytest.raises(AssertionError, match="no eviction had a choice"):
        check_lru([*B_GOES, died])


def test_evictions_outside_of_the_bounds_fail() -> None:
    check_evictions(A_GOES, at_most=1, at_least=1)
    check_evictions(A_GOES, at_least=1)
    with pytest.raises(AssertionError, match=r"^at_least=0 judges nothing"):
        check_evictions(A_GOES, at_least=0)
    with pytest.raises(AssertionError, match=r"^1 eviction, and at most 0 may be: a at 6.50 s$"):
        check_evictions(A_GOES, at_most=0)
    with pytest.raises(AssertionError, match=r"^1 eviction, and at least 2 must be: a at 6.50 s$"):
        check_evictions(A_GOES, at_least=2)
    with pytest.raises(AssertionError, match="no request that succeeded was recorded"):
        check_evictions([], at_most=0)
    with pytest.raises(ValueError, match="give at_most=, at_least=, or both"):
        check_evictions(A_GOES)


def test_another_number_of_models_that_fit_fails() -> None:
    check_capacity(A_GOES, 2)
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 3: a, b$"):
        check_capacity(A_GOES, 3)
    with pytest.raises(AssertionError, match="whether one more fits was not tried"):
        check_capacity(USED, 2)
    died = Event(kind="crash", source="server", at_s=2.5, model="b", outcome="SIGKILL")
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 3: a, b$"):
        check_capacity([*USED[:4], died], 3)
    perhaps = [move("load", "d", 2.4), dataclasses.replace(died, model="d")]
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 1: a, b$"):
        check_capacity([*USED[:4], *perhaps], 1)
    with pytest.raises(AssertionError, match="no load was recorded"):
        check_capacity([request("a", 0.0)], 1)


def test_a_model_takes_its_room_from_when_its_load_began() -> None:
    """Two others are gone by the time that it has ended."""
    made = Event(kind="evict", source="hosting", at_s=1.0, seconds=0.1, model="a", detail={"room_for": "d"})
    load = Event(kind="load", source="hosting", at_s=4.0, seconds=3.5, model="c")
    events = [move("load", "a", 0.1), move("load", "b", 0.2), load, made, move("unload", "b", 2.0)]
    check_capacity(events, 3)
    with pytest.raises(AssertionError, match=r"^3 models were in memory at once, not 4: a, b, c$"):
        check_capacity(events, 4)


def test_requests_that_waited_for_a_load_are_not_hits() -> None:
    check_no_thrash(A_GOES, hit_ratio=0.5)
    with pytest.raises(
        AssertionError,
        match=r"^50% of 6 requests found their model in memory, and 90% must; requests that waited for a load, or failed: a 1, b 1, c 1$",
    ):
        check_no_thrash(A_GOES)
    check_no_thrash(A_GOES, "a", hit_ratio=0.6)
    with pytest.raises(AssertionError, match="no request that succeeded was recorded"):
        check_no_thrash(A_GOES, "d")


def test_a_failed_request_is_not_a_cache_hit() -> None:
    lost = [dataclasses.replace(request("a", 10.0 + number), outcome="ModelError") for number in range(4)]
    with pytest.raises(AssertionError, match=r"^30% of 10 requests .*: a 5, b 1, c 1$"):
        check_no_thrash([*A_GOES, *lost])
    with pytest.raises(AssertionError, match="no load was recorded"):
        check_no_thrash([request("a", 1.0)])


@pytest.mark.parametrize("check", [check_lru, check_fifo, check_lfu])
def test_a_model_that_is_being_evicted_is_not_a_choice_for_another_eviction(check: Callable[..., None]) -> None:
    loads = [move("load", name, at_s) for at_s, name in ((0.1, "a"), (0.2, "b"), (0.3, "c"))]
    going = [
        Event(kind="evict", source="hosting", at_s=5.2, seconds=0.2, model="a"),
        Event(kind="evict", source="hosting", at_s=5.3, seconds=0.2, model="b"),
    ]
    check([*loads, *going])


def test_policies_are_judged_by_the_platforms_times_of_requests() -> None:
    def attempt(model: str, began_s: float, at_s: float) -> Event:
        return Event(kind="attempt", source="hosting", at_s=at_s, seconds=at_s - began_s, model=model)

    loads = [move("load", name, at_s) for at_s, name in ((0.1, "a"), (0.2, "b"), (0.3, "c"))]
    platform = [attempt("c", 1.0, 1.1), attempt("a", 1.2, 1.500), attempt("b", 1.3, 1.501)]
    callers = [request("c", 1.0, 1.1), request("a", 1.19, 1.504), request("b", 1.29, 1.503)]
    check_lru([*loads, *platform, *callers, *evicted("c", 2.0), *evicted("a", 3.0)])


def test_models_of_a_server_that_stopped_do_not_count_as_in_memory() -> None:
    stop = Event(kind="stop", source="engine", at_s=7.5)
    again = [move("load", "a", 8.0), move("load", "b", 8.1)]
    check_capacity([*A_GOES, stop, *again], 2)


def test_each_server_has_its_own_capacity() -> None:
    two = [dataclasses.replace(event, server=name) for name in ("one", "other") for event in A_GOES]
    check_capacity(two, 2)
    check_lru(two)


def test_each_instance_of_an_endpoint_has_its_own_memory() -> None:
    two = [dataclasses.replace(event, instance=name) for name in ("i-1", "i-2") for event in A_GOES]
    check_capacity(two, 2)
    check_lru(two)
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 4"):
        check_capacity(two, 4)


def test_a_model_whose_request_ends_as_an_eviction_is_decided_may_have_been_busy() -> None:
    loads = [move("load", name, at_s) for at_s, name in ((0.1, "a"), (0.2, "b"), (0.3, "c"))]
    others = [request("b", 2.4, 2.5), request("c", 2.7, 2.8), *evicted("b", 3.0)]
    check_lru([*loads, request("a", 2.0, 2.991), *others])
    check_lru([*loads, request("a", 2.0, 9.0), *others])
    check_lru([*loads, request("a", 2.993, 9.0), *others])
    with pytest.raises(AssertionError, match=r"b went, and the least recently used was a"):
        check_lru([*loads, request("a", 2.0, 2.1), *others])


@pytest.mark.parametrize(("ended_s", "busy"), [(2.994, False), (3.1, True)])
def test_a_model_is_busy_when_its_request_surely_goes_on(ended_s: float, busy: bool) -> None:
    events = [move("load", "a", 0.1), move("load", "b", 0.2), request("b", 1.0, 1.1), request("a", 0.5, ended_s)]
    if busy:
        with pytest.raises(AssertionError, match=r"a went while it had a request"):
            check_lru([*events, *evicted("a", 3.0)])
    else:
        check_lru([*events, *evicted("a", 3.0)])


def test_a_model_whose_request_began_a_moment_before_may_not_have_been_busy() -> None:
    loads = [move("load", "a", 0.1), move("load", "b", 0.2), request("b", 1.0), request("b", 2.0)]
    check_lfu([*loads, request("a", 2.987, 3.1), *evicted("a", 3.0)])
    with pytest.raises(AssertionError, match=r"a went while it had a request"):
        check_lfu([*loads, request("a", 2.98, 3.1), *evicted("a", 3.0)])


@pytest.mark.parametrize("at_s", [5.5, 5.9])
def test_room_that_was_made_in_vain_is_not_taken(at_s: float) -> None:
    """One goes for c, which finds no room all the same, and then another goes for d: there was room for two no more."""
    loads = [move("load", "a", 1.0), move("load", "b", 2.0), *evicted("a", 3.0), move("load", "c", 3.5)]
    made = [
        Event(kind="evict", source="hosting", at_s=5.0, seconds=0.1, model="b", detail={"room_for": "d"}),
        Event(kind="evict", source="hosting", at_s=6.0, seconds=0.1, model="c", detail={"room_for": "e"}),
    ]
    check_capacity([*loads, *made], 2)  # the room that b has left is d's
    check_capacity([*loads, *made, move("load", "d", 7.0)], 2)
    in_vain = Event(kind="load", source="hosting", at_s=at_s, seconds=0.1, model="d", outcome="507")
    with pytest.raises(AssertionError, match=r"^at 5.90 s c had to go while 1 of 2 were in memory: c$"):
        check_capacity([*loads, *made, in_vain], 2)


@pytest.mark.parametrize("used_s", [(2.0, 3.0), (3.0, 4.0)], ids=["ended", "began"])
def test_a_request_that_begins_or_ends_as_the_platform_decides_is_not_under_way(used_s: tuple[float, float]) -> None:
    loads = [move("load", name, at_s) for at_s, name in ((0.1, "a"), (0.2, "b"))]
    let = Event(kind="attempt", source="hosting", at_s=4.0, seconds=2.0, model="a", detail={"used_s": used_s})
    with pytest.raises(AssertionError, match=r"a went, and the least frequently used was b$"):
        check_lfu([*loads, let, Event(kind="evict", source="hosting", at_s=3.0, model="a")])


@pytest.mark.parametrize(("earlier", "used_s", "goes"), [(3, (1.0, 2.0), "b"), (2, (5.0, 1.0), "a")])
def test_the_requests_before_the_test_count_where_tests_share_a_server(
    earlier: int, used_s: tuple[float, float], goes: str
) -> None:
    """Of a, and never of b, which is loaded by the test and has one request less, or more."""
    known = {"loaded_s": -9.0, "last_used_s": used_s[0], "requests": earlier}
    before = Event(kind="load", source="hosting", at_s=0.0, model="a", detail=known)
    times = [used_s[1] + number / 10 for number in range(earlier - 1 if goes == "b" else earlier + 1)]
    check_lfu([before, move("load", "b", 0.5), *(request("b", at_s, at_s) for at_s in times), *evicted(goes, 6.0)])
