"""What a clause of the contract is, and what its judgements have in common."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

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
    """One sentence of the contract, and who judges it."""

    id: str
    says: str
    source: Source
    """``D``: AWS documents it; ``O``: seen in public logs; ``P``: proved by running real containers."""
    judge: Callable[[Trial], None]
    """Returns when the server keeps it; raises `DeviationError` or `NotJudgedError` when not."""
    needs: tuple[str, ...] = ()
    """The clauses without which nothing can be said about this one."""
    optional: OnDemand | None = None
    """Judged only on demand: ``pages`` takes more than 100 models, ``memory`` somebody who measures it."""


def clause(
    identifier: str, says: str, *, source: Source, needs: tuple[str, ...] = (), optional: OnDemand | None = None
) -> Callable[[Callable[[Trial], None]], Clause]:
    """Make a clause of the function that judges it."""
    return lambda judge: Clause(id=identifier, says=says, source=source, judge=judge, needs=needs, optional=optional)


def expect(kept: bool, otherwise: str) -> None:
    """Raise `DeviationError` unless *kept*."""
    if not kept:
        raise DeviationError(otherwise)


def expect_status(reply: Reply, *allowed: int) -> Reply:
    """The reply, which must have one of these statuses."""
    expect(reply.status in allowed, f"answered {reply.status}, not {' or '.join(map(str, allowed))}")
    return reply


def expect_answer(
    trial: Trial, placed: Placed, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Ask a loaded model for its example, and hold the answer to the known one."""
    model = placed.model
    assert model.spec is not None
    reply = trial.invoke(placed.identifier, body or request(model), headers)
    expect(reply.status == 200, f"a good request was answered {reply.status}, not 200")
    known, seen = model.answer(model.spec.example), _prediction(reply)
    identity = seen.get("identity") if isinstance(seen, dict) else None
    if identity is not None and identity != known.identity:
        raise DeviationError(f"{shown(identity)} answered, not {known.identity!r}")
    expect(known == seen, f"the prediction is {shown(seen)}, not {known!r}")
    return reply


def _prediction(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)["predictions"][0]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise DeviationError('the answer holds no prediction: expected {"predictions": […]}') from None
