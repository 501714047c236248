"""Deaths, failures and requests under way, by hand-written events."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_mme.checks import check_drained, check_isolated, check_recovers
from pytest_mme.timeline.events import Event


def request(at_s: float, model: str = "a", outcome: str = "ok", seconds: float = 0.1, **detail: Any) -> Event:
    return Event(kind="invoke", source="test", at_s=at_s, seconds=seconds, model=model, outcome=outcome, detail=detail)


DEATH = Event(kind="crash", source="server", at_s=10.0, model="a", outcome="SIGKILL")
KERNEL = Event(kind="oom", source="engine", at_s=10.1, model="a", outcome="SIGKILL")
LOST = request(10.05, outcome="ModelError")
OTHERS = [request(9.0, "b"), request(10.5, "b")]


def test_a_model_that_serves_again_in_time_recovers() -> None:
    events = [*OTHERS, DEATH, KERNEL, LOST, request(12.0)]
    check_recovers(events, within_s=3)
    check_recovers(events, "a", within_s=3, signature="ModelError")
    check_recovers(events, "a", within_s=3, signature="SIGKILL")
    with pytest.raises(AssertionError, match=r"^a died at 10.00 s and replied 2.00 s later; 1 s are allowed$"):
        check_recovers(events, within_s=1)
    with pytest.raises(AssertionError, match=r"^exit 137 was not seen; seen: ModelError, SIGKILL$"):
        check_recovers(events, within_s=3, signature="exit 137")


def test_a_request_that_began_before_the_death_is_a_recovery_only_after_a_load() -> None:
    loaded = Event(kind="load", source="hosting", at_s=11.0, model="a")
    check_recovers([DEATH, loaded, request(12.0, seconds=2.5)], within_s=3)
    with pytest.raises(AssertionError, match="has not replied since"):
        check_recovers([DEATH, request(10.01, seconds=0.1)], within_s=3)
    with pytest.raises(AssertionError, match="it got no request"):
        check_recovers([request(9.9), DEATH], within_s=3)


def test_a_model_that_does_not_serve_again_does_not_recover() -> None:
    with pytest.raises(AssertionError, match=r"has not replied since: a ModelError at 10.05 s, a 500 at 11.00 s$"):
        check_recovers([DEATH, LOST, request(11.0, outcome="500")], within_s=3)
    with pytest.raises(AssertionError, match=r"has not replied since: it got no request"):
        check_recovers([DEATH], within_s=3)


def test_another_model_that_fails_meanwhile_fails_the_recovery() -> None:
    with pytest.raises(AssertionError, match=r"^b failed meanwhile: b 503 at 11.00 s$"):
        check_recovers([DEATH, request(11.0, "b", "503"), request(12.0)], within_s=3)


def test_a_request_to_another_model_that_is_held_up_fails_the_recovery() -> None:
    with pytest.raises(AssertionError, match=r"^a died at 10.00 s and .* held up: b for 25.00 s$"):
        check_recovers([DEATH, request(12.0), request(36.0, "b", seconds=25.0)], within_s=3)


def test_without_a_death_there_is_nothing_to_judge() -> None:
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
def test_a_good_model_that_fails_after_a_bad_one_is_not_isolated(failure: Event) -> None:
    check_isolated([failure, *OTHERS], good=["b"], bad=["a"])
    with pytest.raises(AssertionError, match=r"^a took others along: b at 11.00 s: 500 \(1 of 2 requests\)$"):
        check_isolated([failure, *OTHERS, request(11.0, "b", "500")], good=["b"], bad=["a"])


def test_a_good_model_that_predicts_wrongly_after_a_failure_is_not_isolated() -> None:
    wrong = request(11.0, "b", expected={"identity": "b/1", "value": [1.0]}, got={"identity": "a/1", "y": [1.0]})
    with pytest.raises(AssertionError, match=r"b at 11.00 s: predicted {'identity': 'a/1'"):
        check_isolated([DEATH, wrong], good=["b"], bad=["a"])


def test_a_good_model_that_dies_after_a_bad_one_is_not_isolated() -> None:
    died = Event(kind="crash", source="server", at_s=10.2, model="b", outcome="SIGKILL")
    with pytest.raises(AssertionError, match=r"b died at 10.20 s"):
        check_isolated([DEATH, died, *OTHERS], good=["b"], bad=["a"])


def test_without_a_failure_or_a_later_request_isolation_cannot_be_judged() -> None:
    with pytest.raises(AssertionError, match=r"^a did not fail"):
        check_isolated(OTHERS, good=["b"], bad=["a"])
    with pytest.raises(AssertionError, match=r"^c got no request after a had failed at 10.00 s$"):
        check_isolated([DEATH, *OTHERS], good=["b", "c"], bad=["a"])
    elsewhere = dataclasses.replace(DEATH, at_s=12.0, server="other")
    with pytest.raises(AssertionError, match=r"^c got no request after a had failed at 10.00 s$"):
        check_isolated([DEATH, elsewhere, *OTHERS], good=["b", "c"], bad=["a"])


UNLOAD = Event(kind="unload", source="hosting", at_s=10.2, seconds=0.2, model="a")
STOP = Event(kind="stop", source="engine", at_s=10.2, seconds=0.2)


@pytest.mark.parametrize("end", [UNLOAD, STOP])
def test_a_request_lost_at_an_unload_or_a_stop_is_not_drained(end: Event) -> None:
    check_drained([end, request(10.5, seconds=1.0)])
    with pytest.raises(AssertionError, match=r"^1 of 2 requests under way were lost: a ModelError at 10.60 s$"):
        check_drained([end, request(10.5, seconds=1.0), request(10.6, outcome="ModelError", seconds=1.0)])


def test_without_a_request_under_way_draining_cannot_be_judged() -> None:
    ended_as_it_began = request(10.0, seconds=0.5)
    others = [UNLOAD, request(9.0), ended_as_it_began, request(10.5, "b", seconds=1.0)]
    for events in ([], others, [request(10.5)]):
        with pytest.raises(AssertionError, match=r"no request was under way"):
            check_drained(events)


def test_each_death_of_a_model_needs_a_recovery() -> None:
    again = Event(kind="crash", source="server", at_s=10.9, model="a", outcome="SIGKILL")
    with pytest.raises(AssertionError, match=r"^a died at 10.90 s and has not replied since"):
        check_recovers([DEATH, KERNEL, request(10.3), again, request(11.0, outcome="ModelError")], within_s=3)


def test_a_request_to_another_model_that_died_too_is_not_its_failure_meanwhile() -> None:
    other = Event(kind="crash", source="server", at_s=10.0, model="b", outcome="SIGKILL")
    lost = [request(10.1, "a", "ModelError"), request(10.1, "b", "ModelError")]
    check_recovers([DEATH, other, *lost, request(11.0, "a"), request(12.0, "b")], within_s=3)


def test_a_request_without_a_reply_fails_unless_it_is_the_signature() -> None:
    lost = request(10.5, outcome="no answer")
    with pytest.raises(AssertionError, match=r"^a died at 10.00 s and left 1 request without a reply: a no answer at"):
        check_recovers([DEATH, lost, request(12.0)], within_s=3)
    check_recovers([DEATH, lost, request(12.0)], within_s=3, signature="no answer")


def test_a_failure_after_the_recovery_is_not_its_signature() -> None:
    with pytest.raises(AssertionError, match=r"^ModelError was not seen; seen: SIGKILL$"):
        check_recovers(
            [DEATH, request(12.0), request(3001.0, outcome="ModelError")], within_s=3, signature="ModelError"
        )


def test_a_request_to_a_model_of_that_name_on_another_server_is_not_a_recovery() -> None:
    elsewhere = [dataclasses.replace(event, server="other") for event in (DEATH, LOST)]
    with pytest.raises(AssertionError, match=r"^a died at 10.00 s and has not replied since"):
        check_recovers([*elsewhere, request(12.0)], within_s=3)


def test_a_load_that_succeeds_once_room_is_made_is_not_a_failure() -> None:
    full = Event(kind="load", source="hosting", at_s=10.0, model="a", outcome="507")
    made = Event(kind="load", source="hosting", at_s=10.4, model="a")
    with pytest.raises(AssertionError, match=r"^a did not fail"):
        check_isolated([full, made, request(10.5), *OTHERS], good=["b"], bad=["a"])
    check_isolated([full, *OTHERS], good=["b"], bad=["a"])


def test_a_good_model_must_have_a_request_after_a_slow_load_has_failed() -> None:
    slow = Event(kind="load", source="hosting", at_s=10.0, seconds=9.5, model="a", outcome="500")
    with pytest.raises(AssertionError, match=r"^b got no request after a had failed at 10.00 s$"):
        check_isolated([slow, request(1.1, "b")], good=["b"], bad=["a"])


def test_each_bad_model_must_have_failed() -> None:
    with pytest.raises(AssertionError, match=r"^c did not fail"):
        check_isolated([DEATH, *OTHERS], good=["b"], bad=["c", "a"])


def test_a_good_model_that_died_before_the_failure_is_isolated() -> None:
    early = Event(kind="crash", source="server", at_s=1.0, model="b", outcome="SIGKILL")
    check_isolated([early, DEATH, *OTHERS], good=["b"], bad=["a"])


def test_the_end_of_the_whole_server_after_a_failure_is_not_isolated() -> None:
    ended = Event(kind="crash", source="engine", at_s=10.1, outcome="exit 137", detail={"models": "all"})
    with pytest.raises(AssertionError, match=r"^a took others along: the whole server died at 10.10 s"):
        check_isolated([DEATH, ended, *OTHERS], good=["b"], bad=["a"])


def test_good_models_that_get_slow_after_a_failure_are_not_isolated() -> None:
    before = [request(1 + number / 10, "b") for number in range(20)]
    after = [request(11 + number, "b", seconds=0.4) for number in range(12)]
    check_isolated([*before, DEATH, *after], good=["b"], bad=["a"], max_ratio=5)
    with pytest.raises(AssertionError, match=r"^after a had failed, p50 of 12 requests to b was 400.0 ms, 4.0 times"):
        check_isolated([*before, DEATH, *after], good=["b"], bad=["a"], max_ratio=2)
    with pytest.raises(AssertionError, match="it takes 10 of each"):
        check_isolated([DEATH, *after], good=["b"], bad=["a"], max_ratio=2)


def test_a_stop_of_another_server_gives_draining_nothing_to_judge() -> None:
    stop = Event(kind="stop", source="engine", at_s=10.0, server="other")
    with pytest.raises(AssertionError, match="no request was under way"):
        check_drained([request(10.5, seconds=1.0), stop])


@pytest.mark.parametrize("warm_up", [[], [request(1.0)]])
def test_requests_of_another_boto3_client_are_judged_beside_the_kits_calls(warm_up: list[Event]) -> None:
    theirs = Event(kind="attempt", source="hosting", at_s=10.5, seconds=1.0, model="a", outcome="424 ModelError")
    unload = Event(kind="unload", source="hosting", at_s=10.1, seconds=0.1, model="a")
    with pytest.raises(AssertionError, match=r"^1 of 1 request under way were lost: a 424 ModelError"):
        check_drained([*warm_up, theirs, unload])


def test_an_attempt_within_a_call_of_the_kit_is_not_a_second_request() -> None:
    first = Event(kind="attempt", source="hosting", at_s=10.0, seconds=0.4, model="a", outcome="424 ModelError")
    second = Event(
        kind="attempt", source="hosting", at_s=10.4, seconds=0.3, model="a", detail={"attempt": "attempt=2; max=5"}
    )
    unload = Event(kind="unload", source="hosting", at_s=10.1, seconds=0.2, model="a")
    check_drained([request(10.5, seconds=1.0), first, second, unload])
    with pytest.raises(AssertionError, match=r"^1 of 2 requests under way were lost: a 424 ModelError"):
        check_drained([request(10.5, seconds=1.0), first, unload])  # a call that succeeded has a try that did


def test_isolation_without_good_models_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no model is named"):
        check_isolated([], good=[], bad="a")
    with pytest.raises(AssertionError, match="a did not fail"):
        check_isolated([], good="b", bad="a")


WHOLE = Event(kind="oom", source="engine", at_s=10.0, outcome="exit 137", detail={"models": "all"})


def test_the_end_of_all_models_is_the_death_of_each_that_had_replied_or_just_had_a_request() -> None:
    asked = [
        request(8.0, "b"),
        request(9.0, "gone"),
        request(9.5, "gone"),
        request(10.05, "c", "ModelError", seconds=0.1),
    ]
    asked += [request(9.1, "d", "ModelError"), request(8.9, "long before", "ModelError")]
    asked += [Event(kind="invoke", source="test", at_s=9.9, outcome="ValidationError")]  # it named no model
    unload = Event(kind="unload", source="hosting", at_s=9.5, model="gone")
    again = [request(11.0, name) for name in "bcd"]
    check_recovers([*asked, unload, WHOLE, *again], "b", "c", "d", within_s=3, signature="exit 137")
    check_recovers([*asked, unload, WHOLE, *again], within_s=3)
    with pytest.raises(AssertionError, match=r"^b died at 10.00 s and has not replied since: it got no request$"):
        check_recovers([*asked, unload, WHOLE, *again[1:]], within_s=3)
    with pytest.raises(AssertionError, match=r"^gone did not die"):
        check_recovers([*asked, unload, WHOLE, *again], "gone", within_s=3)
    with pytest.raises(AssertionError, match=r"^new did not die"):
        check_recovers([*asked, unload, WHOLE, *again, request(11.0, "new")], "new", within_s=3)


@pytest.mark.parametrize("earlier", [dataclasses.replace(DEATH, at_s=5.0), dataclasses.replace(WHOLE, at_s=5.0)])
def test_a_model_that_had_died_before_does_not_die_again_with_the_whole_server(earlier: Event) -> None:
    with pytest.raises(AssertionError, match=r"^a died at 5.00 s and has not replied since: it got no request$"):
        check_recovers([request(4.0), earlier, WHOLE], within_s=3)


def test_the_end_of_a_process_that_holds_no_model_is_not_a_models_death() -> None:
    handler = Event(kind="crash", source="server", at_s=10.0, outcome="SIGKILL", detail={"what": "a handler"})
    with pytest.raises(AssertionError, match=r"no model died"):
        check_recovers([*OTHERS, handler], within_s=1)
