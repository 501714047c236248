"""What a call leaves on the timeline, however it ends."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Event, Model, ModelSpec, Timeline
from pytest_mme.answers import recorded as recorded_answer
from pytest_mme.checks import check_answers
from pytest_mme.contract.client import Reply
from pytest_mme.errors import AnswersError, ContractError
from pytest_mme.models.known_answers import KnownAnswers, Pair, Tolerances, by_function
from pytest_mme.runtimes.recorded_calls import RecordedCall, RecordedInvoke, recorded

SPEC = ModelSpec(kind="linear", name="m")
MODEL = Model(name="m", archive=Path("m.tar.gz"), spec=SPEC)
COUNTER = Model(name="m", archive=Path("m.tar.gz"), spec=ModelSpec(kind="counter", name="m"))
FOREIGN = Model(name="m", archive=Path("m.tar.gz"))


def request(model: Model = MODEL, x: object = None, before: float | None = None) -> RecordedInvoke:
    return RecordedInvoke.of(model, [1.0] if x is None else x, "serving_default", before)


def event_of(call: RecordedInvoke, body: bytes) -> Event:
    """The event of a request whose reply says 200 and has this body."""
    timeline = Timeline()
    try:
        with recorded(timeline, call, source="client", server="s"):
            call.prediction(Reply(200, body, {}, 0.0))
    except ContractError:
        pass
    (event,) = timeline
    return event


def test_a_prediction_is_recorded_beside_the_expected_value() -> None:
    event = event_of(request(), b'{"predictions": [7.5]}')
    expected = MODEL.answer([1.0])
    assert (event.outcome, event.detail["got"]) == ("ok", 7.5)
    assert event.detail["expected"] == {"identity": expected.identity, "value": expected.value}


@pytest.mark.parametrize(
    "call",
    [request(FOREIGN), request(COUNTER), request(MODEL, ["text"])],
    ids=["foreign archive", "counter of unknown count", "instance that does not fit"],
)
def test_where_the_expected_value_is_unknown_none_is_recorded(call: RecordedInvoke) -> None:
    detail = event_of(call, b'{"predictions": [7.5]}').detail
    assert "expected" not in detail
    assert detail["got"] == 7.5


@pytest.mark.parametrize("prediction", [7.5, "a text", None, [[1, 2]], {"identity": "theirs", "y": [1.0]}, {"a": 1}])
def test_a_users_model_with_known_answers_has_them_recorded(prediction: object) -> None:
    known = KnownAnswers.of([Pair([1], prediction)], Tolerances())
    own = dataclasses.replace(FOREIGN, known=known)
    event = event_of(request(own), json.dumps({"predictions": [prediction]}).encode())
    (again,) = Timeline.from_jsonl(_jsonl(event))
    assert recorded_answer(again.detail["expected"]) == again.detail["got"] == prediction
    check_answers([again])
    unknown = event_of(request(own, [2.0]), b'{"predictions": [7.5]}')
    assert "expected" not in unknown.detail
    wrong = event_of(request(own), b'{"predictions": ["another"]}')
    with pytest.raises(AssertionError, match=r"(?s)1 of 1 .* wrong:.*m answered 'another', not "):
        check_answers([wrong])


def _jsonl(event: Event) -> str:
    timeline = Timeline()
    timeline.add(event)
    return timeline.to_jsonl()


def test_a_users_function_that_fails_is_not_taken_for_an_unknown_answer() -> None:
    def broken(_: Any) -> Any:
        raise ValueError("no such row")

    own = dataclasses.replace(FOREIGN, known=KnownAnswers(by_function("m", broken), (), Tolerances()))
    with pytest.raises(AnswersError, match=r"raised ValueError: no such row, for x = \[1.0\]"):
        request(own)


def test_a_counter_whose_count_is_known_has_an_expected_value() -> None:
    assert event_of(request(COUNTER, before=2.0), b'{"predictions": [3.0]}').detail["expected"]["identity"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"predictions": []}', b"[1]", b'{"error": "no"}'])
def test_a_reply_that_says_200_without_a_prediction_is_recorded_as_an_error(body: bytes) -> None:
    event = event_of(request(), body)
    assert (event.outcome, event.detail["error"]) == ("no prediction", body.decode())
    assert "got" not in event.detail


def test_a_call_that_raises_is_recorded_with_no_answer() -> None:
    timeline = Timeline()
    with pytest.raises(ZeroDivisionError), recorded(timeline, request(), source="client", server="s"):
        raise ZeroDivisionError
    (event,) = timeline
    assert (event.kind, event.model, event.outcome) == ("invoke", "m", "no answer")
    assert event.seconds is not None


def test_a_refused_call_names_itself_and_records_the_reply() -> None:
    call = RecordedCall(kind="load", model="m")
    error = call.refused(Reply(507, b"full", {}, 0.0))
    assert str(error).startswith("load of m replied 507")
    assert (call.outcome, call.detail) == ("507", {"error": "full"})


def test_a_request_is_recorded_so_that_it_can_be_made_again_unless_it_is_large() -> None:
    small = RecordedInvoke.of(MODEL, [1.0], "double", 2.0)
    assert small.detail == {"x": [1.0], "asked": {"signature": "double", "before": 2.0}}
    assert json.loads(small.body) == {"instances": [[1.0]], "signature_name": "double"}
    assert RecordedInvoke.of(FOREIGN, [1.0] * 1000, "serving_default", None).detail == {}
