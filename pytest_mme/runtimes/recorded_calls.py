"""Calls that are timed and recorded on the timeline, with what a model is known to predict: for servers and endpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

from pytest_mme.contract.client import Reply
from pytest_mme.errors import ContractError, UnknownAnswerError
from pytest_mme.models.builder import Model
from pytest_mme.models.json_values import to_json
from pytest_mme.models.spec import DEFAULT_SIGNATURE
from pytest_mme.timeline.events import NO_ANSWER, NO_PREDICTION, Kind, Source, Timeline

_MAX_RECORDED_BYTES = 2000


@dataclasses.dataclass(kw_only=True)
class RecordedCall:
    """A call under way, and what its event will hold."""

    kind: Kind
    model: str | None
    outcome: str = NO_ANSWER
    """What is recorded when the call raises an exception, unless it was set before."""
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)

    def refused(self, reply: Reply) -> ContractError:
        """Record *reply* as an error of the server, and return the exception to raise for it."""
        self.outcome, self.detail["error"] = str(reply.status), reply.text
        return ContractError(f"{self.kind} of {self.model}", reply.status, reply.text)


@dataclasses.dataclass(kw_only=True)
class RecordedInvoke(RecordedCall):
    """A request with one instance, in TensorFlow Serving's row format.

    Its detail has `expected`, what `checks.check_answers` holds the prediction to, where the kit knows that.
    """

    body: bytes

    @classmethod
    def of(cls, model: Model, x: Any, signature: str, before: float | None) -> RecordedInvoke:
        """Make the request that asks *model* for the instance *x*; TypeError when *x* has no form in JSON.

        *before*: what a counter is known to have counted.
        """
        options: dict[str, Any] = {} if signature == DEFAULT_SIGNATURE else {"signature_name": signature}
        body = to_json({"instances": [x], **options}).encode()
        expected = _expected(model, x, signature, before)
        detail = _to_ask_again(body, signature, before) | ({} if expected is None else {"expected": expected})
        return cls(kind="invoke", model=model.name, detail=detail, body=body)

    def prediction(self, reply: Reply) -> Any:
        """Record and return the one prediction of *reply*; `ContractError` when a reply with the status 200 holds none."""
        try:
            predicted = reply.json()["predictions"][0]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            refused = self.refused(reply)
            self.outcome = NO_PREDICTION
            raise refused from error
        self.outcome = "ok"
        self.detail["got"] = predicted if "expected" in self.detail else _shortened(predicted)
        return predicted


@contextlib.contextmanager
def recorded(timeline: Timeline, call: RecordedCall, *, source: Source, server: str) -> Iterator[None]:
    """Time the *call* that the block makes, and record it when the block ends, also by an exception."""
    start = time.monotonic()
    try:
        with timeline.under_way(call.kind, source=source, server=server, model=call.model):
            yield
    finally:
        timeline.record(
            call.kind,
            source=source,
            server=server,
            model=call.model,
            outcome=call.outcome,
            seconds=time.monotonic() - start,
            detail=call.detail,
        )


def _to_ask_again(body: bytes, signature: str, before: float | None) -> dict[str, Any]:
    """What a replay needs to make the request again; nothing for a large request."""
    if len(body) > _MAX_RECORDED_BYTES:
        return {}
    options: dict[str, Any] = {} if signature == DEFAULT_SIGNATURE else {"signature": signature}
    if before is not None:
        options["before"] = before
    return {"x": json.loads(body)["instances"][0], **({"asked": options} if options else {})}


def _shortened(predicted: Any) -> Any:
    """A prediction as it is, or where that is long, its length."""
    length = len(to_json(predicted))
    return predicted if length <= _MAX_RECORDED_BYTES else f"({length} characters of JSON)"


def _expected(model: Model, x: Any, signature: str, before: float | None) -> dict[str, Any] | None:
    """What *model* must predict, as `Answer.to_record` writes it.

    None where it is not known: for an archive of which nobody said it, for an instance that the model does not take, and
    for a counter when it is not known what it had counted before.
    """
    if model.spec is not None and model.spec.kind == "counter" and before is None:
        return None
    try:
        return model.answer(x, signature=signature, before=before or 0.0).to_record()
    except (ValueError, UnknownAnswerError):  # the model itself is to say what is wrong with the instance
        return None
