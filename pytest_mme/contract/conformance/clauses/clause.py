"""What a clause of the contract is, and the expectations that several clauses share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Literal

from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.exchange import DeviationError
from pytest_mme.contract.conformance.subject import request
from pytest_mme.contract.conformance.trial import Placed, Trial
from pytest_mme.errors import shown

Source = Literal["D", "O", "P"]
OnDemand = Literal["pages", "memory"]

JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clause:
    """One sentence of the contract, and the function that judges it."""

    id: str
    says: str
    source: Source
    """``D``: AWS documents it; ``O``: seen in public logs; ``P``: proved by running real containers."""
    judge: Callable[[Trial], None]
    """Returns when the server keeps it; raises `DeviationError` or `NotJudgedError` when not."""
    needs: tuple[str, ...] = ()
    """The clauses that must be kept for this one to be judged."""
    optional: OnDemand | None = None
    """Judged only on demand: ``pages`` takes more than 100 models, ``memory`` a measurement of the server."""


def clause(
    identifier: str, *, source: Source, needs: tuple[str, ...] = (), optional: OnDemand | None = None
) -> Callable[[Callable[[Trial], None]], Clause]:
    """Make a clause of the function that judges it; the function's docstring is what the clause says."""

    def made(judge: Callable[[Trial], None]) -> Clause:
        says = " ".join(str(judge.__doc__).split())
        return Clause(id=identifier, says=says, source=source, judge=judge, needs=needs, optional=optional)

    return made


def expect(kept: bool, otherwise: str) -> None:
    """Raise `DeviationError` unless *kept*."""
    if not kept:
        raise DeviationError(otherwise)


def expect_status(reply: Reply, *allowed: int) -> Reply:
    """Return the reply; raise `DeviationError` unless it has one of these statuses."""
    expect(reply.status in allowed, f"the reply is {reply.status}, not {' or '.join(map(str, allowed))}")
    return reply


def expect_prediction(
    trial: Trial, placed: Placed, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Invoke a loaded model with its example; raise `DeviationError` unless it predicts what is expected."""
    model = placed.model
    assert model.spec is not None
    reply = trial.invoke(placed.identifier, body or request(model), headers)
    expect(reply.status == 200, f"the reply to a good request is {reply.status}, not 200")
    try:
        seen = json.loads(reply.body)["predictions"][0]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise DeviationError('the reply holds no prediction: expected {"predictions": […]}') from None
    expected = model.answer(model.spec.example)
    identity = seen.get("identity") if isinstance(seen, dict) else None
    if identity is not None and identity != expected.identity:
        raise DeviationError(f"the prediction is of {shown(identity)}, not of {expected.identity!r}")
    expect(expected == seen, f"the prediction is {shown(seen)}, not {expected!r}")
    return reply
