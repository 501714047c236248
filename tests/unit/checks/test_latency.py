"""Latencies while something else went on, by hand-written events."""

from __future__ import annotations

import pytest

from pytest_mme.checks import check_fair, check_no_stall
from pytest_mme.timeline.events import Event, Kind


def request(began_s: float, seconds: float, model: str = "a", outcome: str = "ok") -> Event:
    return Event(kind="invoke", source="test", at_s=began_s + seconds, seconds=seconds, model=model, outcome=outcome)


def move(kind: Kind, at_s: float, model: str = "b", seconds: float | None = None) -> Event:
    return Event(kind=kind, source="hosting", at_s=at_s, seconds=seconds, model=model)


def sample(at_s: float, **detail: int) -> Event:
    return Event(kind="sample", source="server", server="s", at_s=at_s, detail=detail)


QUIET = [request(number, 0.1) for number in range(20)]
LOAD = move("load", 110.0, seconds=10.0)


def meanwhile(seconds: float) -> list[Event]:
    return [request(100.0 + number / 2, seconds) for number in range(12)]


def test_requests_that_take_longer_while_others_load_stall() -> None:
    check_no_stall([*QUIET, LOAD, *meanwhile(0.29)], of=["a"])
    with pytest.raises(
        AssertionError,
        match=r"^while others had a load, p50 of 12 requests to a was 400.0 ms, 4.0 times the 100.0 ms of 20 others; "
        r"p99 of 12 requests to a was 400.0 ms, .*; at most 3 times may be$",
    ):
        check_no_stall([*QUIET, LOAD, *meanwhile(0.4)], of=["a"])
    check_no_stall([*QUIET, LOAD, *meanwhile(0.4)], of=["a"], factor=5)


def test_a_request_that_takes_exactly_so_many_times_as_long_does_not_stall() -> None:
    check_no_stall([*(request(n, 0.25) for n in range(20)), LOAD, *meanwhile(0.5)], of=["a"], factor=2)


def test_a_request_that_ends_or_begins_with_a_load_of_another_model_lies_outside_of_it() -> None:
    with pytest.raises(AssertionError, match=r"^0 requests to a lie while others had a load, and 22 do not"):
        check_no_stall([*QUIET, LOAD, request(99.5, 0.5), request(110.0, 0.5)], of=["a"])


def test_a_load_of_the_judged_model_itself_is_nothing_to_judge_a_stall_by() -> None:
    own = move("load", 110.0, model="a", seconds=10.0)
    with pytest.raises(AssertionError, match=r"^no load of another model was recorded"):
        check_no_stall([*QUIET, own, *meanwhile(0.4)], of=["a"])
    with pytest.raises(AssertionError, match=r"^no evict or crash of another model was recorded"):
        check_no_stall([*QUIET, LOAD, *meanwhile(0.4)], of=["a"], during=("evict", "crash"))


def test_a_crash_lasts_until_the_model_is_loaded_again() -> None:
    crash = Event(kind="crash", source="server", at_s=100.0, model="b", outcome="SIGKILL")
    again = [move("load", 106.0, seconds=0.1), move("load", 50.0), move("load", 101.0, model="c")]
    afterwards = [request(200.0 + number, 0.1) for number in range(20)]
    with pytest.raises(AssertionError, match=r"while others had a crash, p50 of 12 requests"):
        check_no_stall([crash, *meanwhile(0.4), *again, *afterwards], of=["a"], during="crash")
    with pytest.raises(AssertionError, match=r"32 requests to a lie while others had a crash, and 0 do not"):
        check_no_stall([crash, *meanwhile(0.4), *afterwards], of=["a"], during="crash")


def test_fewer_than_ten_requests_cannot_be_compared() -> None:
    with pytest.raises(
        AssertionError, match=r"9 requests to a lie while others had a load, and 20 do not: it takes 10"
    ):
        check_no_stall([*QUIET, LOAD, *meanwhile(0.4)[:9]], of=["a"])


def test_a_request_that_fails_while_others_load_has_stalled() -> None:
    failed = [request(101.0, 0.1, outcome="500")]
    with pytest.raises(AssertionError, match=r"^1 of 13 requests failed while others had a load: a 500 at 101.10 s$"):
        check_no_stall([*QUIET, LOAD, *meanwhile(0.1), *failed], of=["a"])
    check_no_stall([*QUIET, LOAD, *meanwhile(0.1), request(50.0, 0.1, outcome="500")], of=["a"])


def test_a_request_that_waited_for_its_own_load_is_not_compared_with() -> None:
    cold = [request(-5.0, 5.0), move("load", -0.1, model="a", seconds=4.0)]
    with pytest.raises(AssertionError, match=r"p99 of 12 requests to a was 3000.0 ms, 30.0 times"):
        check_no_stall([*cold, *QUIET, LOAD, *meanwhile(3.0)], of=["a"])


def test_a_baseline_of_no_time_at_all_has_no_ratio() -> None:
    with pytest.raises(AssertionError, match=r"was 400.0 ms, the 0.0 ms of 20 others"):
        check_no_stall([*(request(number, 0.0) for number in range(20)), LOAD, *meanwhile(0.4)], of=["a"])


HOG = [request(100.0, 8.0, "hog")]


def test_requests_that_take_longer_beside_a_hog_are_unfair() -> None:
    check_fair([*QUIET, *HOG, *meanwhile(0.19)], hog="hog", max_ratio=2)
    with pytest.raises(
        AssertionError, match=r"^while hog had requests, p50 of 12 requests to a was 300.0 ms, 3.0 times the"
    ):
        check_fair([*QUIET, *HOG, *meanwhile(0.3)], hog="hog", max_ratio=2)
    with pytest.raises(AssertionError, match=r"^no request to hog succeeded"):
        check_fair(QUIET, hog="hog", max_ratio=2)


def test_only_a_wait_for_the_first_load_of_a_model_is_not_compared() -> None:
    waited = [request(100.5, 7.0), move("load", 107.0, model="a", seconds=6.0)]
    late = [request(number, 0.1) for number in range(200, 220)]
    check_fair([*waited, *late, *HOG, *meanwhile(0.1)[2:]], hog="hog", max_ratio=2)
    with pytest.raises(AssertionError, match=r"p99 of 1[13] requests to a was 7000.0 ms"):
        check_fair([move("load", 1.0, model="a"), *waited, *late, *HOG, *meanwhile(0.1)], hog="hog", max_ratio=2)


def test_more_threads_than_allowed_are_unfair() -> None:
    samples = [sample(10.0, threads=40, resident=2), sample(20.0, threads=300, resident=9), sample(30.0)]
    events = [*QUIET, *HOG, *meanwhile(0.1), *samples]
    check_fair(events, hog="hog", max_ratio=2, max_threads=300)
    with pytest.raises(AssertionError, match=r"^at 20.00 s the 9 models of s had 300 threads; at most 299 may be$"):
        check_fair(events, hog="hog", max_ratio=2, max_threads=299)
    with pytest.raises(AssertionError, match=r"^no sample counts threads: only the kit's own server counts them"):
        check_fair([*events[:-3], events[-1]], hog="hog", max_ratio=2, max_threads=299)


def test_only_the_named_models_are_judged_beside_a_hog() -> None:
    slow = [request(100.0 + number / 2, 5.0, "c") for number in range(12)] + [
        request(number, 0.1, "c") for number in range(20)
    ]
    events = [*QUIET, *HOG, *meanwhile(0.1), *slow]
    check_fair(events, hog="hog", max_ratio=2, of=["a"])
    with pytest.raises(AssertionError, match=r"p50 of 12 requests to c was"):
        check_fair(events, hog="hog", max_ratio=2, of=["c"])
