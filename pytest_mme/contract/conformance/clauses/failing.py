"""Loads that must fail, and must leave nothing behind.

Judged last: after one of them, some containers reply 500 to every list (AWS's TensorFlow images up to 2.11).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.clauses.clause import clause, expect, expect_prediction, expect_status
from pytest_mme.contract.conformance.exchange import DeviationError, NotJudgedError
from pytest_mme.contract.conformance.trial import Placed, Trial

_GARBAGE = b"\xff not what it was \x00" * 64


@clause("load.corrupt", source="P", needs=("load.200",))
def load_corrupt(trial: Trial) -> None:
    """A load of a damaged archive is an error; neither 409, which says that it is loaded, nor 507, which says that
    memory is short.
    """
    _expect_error(trial.load(_corrupt(trial)))


@clause("load.absent", source="P", needs=("load.200",))
def load_absent(trial: Trial) -> None:
    """A load from a folder that is not there is an error; neither 409 nor 507."""
    _expect_error(trial.load(_absent(trial)))


def _expect_error(reply: Reply) -> None:
    wrong = reply.status < 400 or reply.status in (routes.ALREADY_LOADED, routes.OUT_OF_MEMORY)
    expect(not wrong, f"the reply to a load that cannot succeed is {reply.status}")


@clause("load.failed-not-listed", source="P", needs=("list.models",))
def failed_not_listed(trial: Trial) -> None:
    """A model whose load has failed is not in the list."""
    for spoil in (_corrupt, _absent):
        identifier = _failed(trial, spoil).identifier
        expect(identifier not in trial.identifiers(), f"the load of {identifier} has failed, but it is listed")


@clause("load.after-failed", source="P", needs=("invoke.answer",))
def load_after_failed(trial: Trial) -> None:
    """After a load that failed, the same id can be loaded with a good archive, and predicts."""
    for spoil in (_corrupt, _absent):
        placed = trial.put(identifier=_failed(trial, spoil).identifier)
        reply = trial.load(placed)
        expect(reply.status == 200, f"the reply to the load of a good archive after one that failed is {reply.status}")
        expect_prediction(trial, placed)


@clause("ping.after-failed-load", source="P", needs=("ping.200", "load.200"))
def ping_after_failed_load(trial: Trial) -> None:
    """A failed load leaves the server healthy: a ping is 200."""
    for spoil in (_corrupt, _absent):
        _failed(trial, spoil)
        expect_status(trial.ping(), 200)


def _failed(trial: Trial, spoil: Callable[[Trial], Placed]) -> Placed:
    """Send a load that fails; raises `NotJudgedError` when it does not."""
    placed = spoil(trial)
    try:
        reply = trial.load(placed)
    except DeviationError:
        return placed
    if reply.status < 400:
        raise NotJudgedError(f"a failed load is needed for this, but the reply is {reply.status}")
    return placed


def _corrupt(trial: Trial) -> Placed:
    """Put a model whose files hold garbage."""
    placed = trial.put()
    folder = trial.folder(placed.identifier)
    for path in filter(Path.is_file, folder.rglob("*")):
        path.write_bytes(_GARBAGE)
    return trial.placed(placed.identifier, placed.model)


def _absent(trial: Trial) -> Placed:
    """Put a model, and give the path of a folder that does not exist."""
    placed = trial.put()
    return Placed(identifier=placed.identifier, url=f"{placed.url}-absent", model=placed.model)
