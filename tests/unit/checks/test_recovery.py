"""Deaths, failures and requests under way, by hand-written events."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mme.checks import check_drained, check_isolated, check_recovers
from pytest_mme.events import Event


def request(at_s: float, model: str = "a", outcome: str = "ok", seconds: float = 0.1, **detail: Any) -> Event:
    return Event(kind="invoke", source="test", at_s=at_s, seconds=seconds, model=model, outcome=outcome, detail=detail)


DEATH = Event(kind="crash", source="server", at_s=10.0, model="a", outcome="SIGKILL")
KERNEL = Event(kind="oom", source="engine", at_s=10.1, model="a", outcome="SIGKILL")
LOST = request(10.05, outcome="ModelError")
OTHERS = [request(9.0, "b"), request(10.5, "b")]


def test_recovers() -> None:
    events = [*OTHERS, DEATH, KERNEL, LOST, request(12.0)]
    check_recovers(events, within_s=3)
    check_recovers(events, "a", within_s=3, signature="ModelError")
    check_recovers(events, "a", within_s=3, signature="SIGKILL")
    with pytest.raises(AssertionError, match=r"^a died at 10.00 s and answered 2.00 s later; 1 s are allowed$"):
        check_recovers(events, within_s=1)
    with pytest.raises(AssertionError, match=r"^exit 137 was not seen; seen: ModelError, SIGKILL$"):
        check_recovers(events, within_s=3, signature="exit 137")


def test_a_request_that_had_begun_before_is_answered_by_the_next_process() -> None:
    check_recovers([DEATH, request(12.0, seconds=2.5)], within_s=3)
    with pytest.raises(AssertionError, match="it was not asked"):
        check_recovers([request(9.9), DEATH], within_s=3)


def test_does_not_recover() -> None:
    with pytest.raises(AssertionError, match=r"has not answered since: a ModelError at 10.05 s, a 500 at 11.00 s$"):
        check_recovers([DEATH, LOST, request(11.0, outcome="500")], within_s=3)
    with pytest.raises(AssertionError, match=r"has not answered since: it was not asked"):
        check_recovers([DEATH], within_s=3)


def test_others_stop_meanwhile() -> None:
    with pytest.raises(AssertionError, match=r"^b failed meanwhile: b 503 at 11.00 s$"):
        check_recovers([DEATH, request(11.0, "b", "503"), request(12.0)], within_s=3)


def test_nobody_died() -> None:
    with pytest.raises(AssertionError, match=r"no model died"):
        check_recovers(OTHERS, within_s=1)
    with pytest.raises(AssertionError, match=r"^b did not die"):
        check_recovers([DEATH, request(12.0)], "b", within_s=3)


@pytest.mark.parametrize(
    "failure",
    [
        DEATH,
        LOST,
        Event(kind="load", source="hosting", at_s=10.0, model="a", outcome="500"),
    ],
)
def test_isolated(failure: Event) -> None:
    check_isolated([failure, *OTHERS], good=["b"], bad=["a"])
    with pytest.raises(AssertionError, match=r"^a took others along: b at 11.00 s: 500 \(2 requests judged\)$"):
        check_isolated([failure, *OTHERS, request(11.0, "b", "500")], good=["b"], bad=["a"])


def test_a_wrong_answer_is_not_isolated() -> None:
    wrong = request(11.0, "b", expected={"identity": "b/1", "value": [1.0]}, got={"identity": "a/1", "y": [1.0]})
    with pytest.raises(AssertionError, match=r"b at 11.00 s: answered {'identity': 'a/1'"):
        check_isolated([DEATH, wrong], good=["b"], bad=["a"])


def test_a_death_of_another_is_not_isolated() -> None:
    died = Event(kind="crash", source="server", at_s=10.2, model="b", outcome="SIGKILL")
    with pytest.raises(AssertionError, match=r"b died at 10.20 s"):
        check_isolated([DEATH, died, *OTHERS], good=["b"], bad=["a"])


def test_nothing_to_say_of_isolation() -> None:
    with pytest.raises(AssertionError, match=r"^a did not fail"):
        check_isolated(OTHERS, good=["b"], bad=["a"])
    with pytest.raises(AssertionError, match=r"^c was not asked after a had failed at 10.00 s$"):
        check_isolated([DEATH, *OTHERS], good=["b", "c"], bad=["a"])


UNLOAD = Event(kind="unload", source="hosting", at_s=10.2, seconds=0.2, model="a")
STOP = Event(kind="stop", source="engine", at_s=10.2, seconds=0.2)


@pytest.mark.parametrize("end", [UNLOAD, STOP])
def test_drained(end: Event) -> None:
    check_drained([end, request(10.5, seconds=1.0)])
    with pytest.raises(AssertionError, match=r"^1 of 2 requests under way were lost: a ModelError at 10.60 s$"):
        check_drained([end, request(10.5, seconds=1.0), request(10.6, outcome="ModelError", seconds=1.0)])


def test_nothing_was_under_way() -> None:
    for events in ([], [UNLOAD, request(9.0)], [UNLOAD, request(10.5, "b", seconds=1.0)], [request(10.5)]):
        with pytest.raises(AssertionError, match=r"no request was under way"):
            check_drained(events)
