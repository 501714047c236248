"""Load and unload."""

from __future__ import annotations

import uuid

from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.conformance.clauses.clause import clause, expect, expect_prediction, expect_status
from pytest_mme.contract.conformance.exchange import NotJudgedError
from pytest_mme.contract.conformance.subject import HEAVY_MIB, opaque, request
from pytest_mme.contract.conformance.trial import Placed, Trial
from pytest_mme.errors import UnavailableError

_MIB = 1 << 20
_FREED = 0.8  # of what the model took: the rest is the measure's noise, as other models may be at work


@clause("load.200", source="D")
def load_200(trial: Trial) -> None:
    """The load of a model that can be loaded is 200."""
    reply = trial.load(trial.put())
    if reply.status == routes.OUT_OF_MEMORY:
        raise NotJudgedError("the server has no memory for a tiny model, it replies: unload others, or give it more")
    expect_status(reply, 200)


@clause("load.opaque-id", source="O", needs=("invoke.answer",))
def opaque_id(trial: Trial) -> None:
    """An id is 32 hexadecimal digits, whichever comes first, and is not the name of a model."""
    placed = trial.put(identifier=f"{uuid.uuid4().int % 10**32:032d}")
    expect(trial.load(placed).status == 200, f"the id {placed.identifier}, all digits, is refused")
    expect_prediction(trial, placed)


@clause("load.twice-409", source="D", needs=("load.200",))
def twice_409(trial: Trial) -> None:
    """A second load of a loaded model is 409."""
    expect_status(_load_again(trial, trial.loaded()), routes.ALREADY_LOADED)


@clause("load.twice-changes-nothing", source="D", needs=("invoke.answer",))
def twice_changes_nothing(trial: Trial) -> None:
    """After a second load the model that was loaded first still predicts."""
    placed = trial.loaded()
    _load_again(trial, placed)
    expect_prediction(trial, placed)


def _load_again(trial: Trial, placed: Placed) -> Reply:
    """Load another model under the same id."""
    other = trial.put(trial.specimens.second)
    return trial.load(Placed(identifier=placed.identifier, url=other.url, model=other.model))


@clause("unload.200", source="D", needs=("load.200",))
def unload_200(trial: Trial) -> None:
    """The unload of a loaded model is 200."""
    _unloaded(trial)


@clause("unload.not-listed", source="D", needs=("unload.200", "list.models"))
def unload_not_listed(trial: Trial) -> None:
    """An unloaded model is not in the list."""
    identifier = _unloaded(trial).identifier
    expect(identifier not in trial.identifiers(), f"{identifier} is unloaded, but still listed")


@clause("unload.then-404", source="D", needs=("unload.200",))
def unload_then_404(trial: Trial) -> None:
    """Get, invoke and unload of an unloaded model are 404."""
    placed = _unloaded(trial)
    for call, reply in (
        ("get", trial.get(placed.identifier)),
        ("invoke", trial.invoke(placed.identifier, request(placed.model))),
        ("unload", trial.unload(placed.identifier)),
    ):
        expect(reply.status == routes.NOT_LOADED, f"{call} of an unloaded model is {reply.status}, not 404")


@clause("unload.404", source="D")
def unload_404(trial: Trial) -> None:
    """An unload of a model that was never loaded is 404."""
    expect_status(trial.unload(opaque()), routes.NOT_LOADED)


@clause("unload.frees-memory", source="D", needs=("unload.200", "invoke.answer"), optional="memory")
def unload_frees_memory(trial: Trial) -> None:
    """When an unload returns, the memory of the model is free."""
    before = _used_bytes(trial)
    placed = trial.loaded(trial.specimens.heavy)
    expect_prediction(trial, placed)
    taken = _used_bytes(trial) - before
    if taken < HEAVY_MIB * _MIB / 2:
        raise NotJudgedError(
            f"a model with {HEAVY_MIB} MiB of weights was loaded, but only {taken / _MIB:.1f} MiB were measured"
        )
    expect_status(trial.unload(placed.identifier), 200)
    kept = _used_bytes(trial) - before
    trial.remark = f"{kept / _MIB:.1f} of {taken / _MIB:.1f} MiB are left"
    expect(kept <= (1 - _FREED) * taken, f"the unload has returned, but {trial.remark}")


def _used_bytes(trial: Trial) -> int:
    used_bytes = trial.subject.used_bytes
    assert used_bytes is not None  # the clause is optional: it is judged where memory is measured
    try:
        return used_bytes()
    except UnavailableError as error:
        raise NotJudgedError(f"{error.asked} cannot be measured: {error.seen}") from error


def _unloaded(trial: Trial) -> Placed:
    """A model that was loaded and unloaded."""
    placed = trial.loaded()
    expect_status(trial.unload(placed.identifier), 200)
    return placed
