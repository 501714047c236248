"""How a model is brought up: its processes, its share of the memory, the model itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pytest_mme.archives.code import code_in
from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget, Claim, DoesNotFitError
from pytest_mme.serving.processes.channel import Head
from pytest_mme.serving.processes.model_processes import GoneError, ModelProcesses
from pytest_mme.serving.processes.zygote_client import ChildProcess
from pytest_mme.serving.table.loaded_model import RefusalError, Resident
from pytest_mme.serving.table.universal_handler import TOOLKIT, UniversalHandler, opening

_OURS = {"NO_ARCHIVE", "USER_CODE"}  # the other codes are TensorFlow's


class Loading:
    """Loads models, each by a worker or by the user's own code."""

    def __init__(
        self, config: ServingConfig, processes: ModelProcesses, budget: Budget, universal: UniversalHandler | None
    ) -> None:
        self._config, self._processes, self._budget, self._universal = config, processes, budget, universal

    async def load(self, resident: Resident) -> dict[str, Any]:
        """Bring a model up and return what is told of it; raises `RefusalError` 507, 400, 404 or 500."""
        _refuse_what_is_no_path(resident.url)
        code = self._code_of(resident)
        worker = resident.worker = await self._processes.start("worker", resident)
        asked = {"ask": "estimate", "directory": resident.url, "code": code and str(code)}
        estimate = await self._ask(resident, worker, asked)
        claim = await self._claim(resident, worker, estimate)
        if code is not None:
            resident.handler = await self._processes.start("handler", resident)
            if not resident.handler.reaped.is_set():
                self._budget.join(claim, resident.handler.pid, resident.handler.reserved)
        loaded = await self._bring_up_in_time(resident, worker, code, claim)
        used = await asyncio.to_thread(self._budget.loaded, claim)
        if resident.end is not None:  # it died in the moment between its answer and now
            raise RefusalError(500, f"{resident.identifier} cannot be loaded: {resident.end}")
        holder = resident.handler if resident.worker is None else worker
        assert holder is not None
        return {
            "pid": holder.pid,
            "bytes": used,
            "estimated_bytes": estimate["bytes"],
            "fingerprint": estimate["fingerprint"],
            **loaded,
        }

    def _code_of(self, resident: Resident) -> Path | None:
        """The user's code that runs in a process of this model's own."""
        own = code_in(Path(resident.url))
        if own is None and self._universal is not None and self._universal.style == TOOLKIT:
            return self._universal.code
        return own

    async def _claim(self, resident: Resident, worker: ChildProcess, estimate: Head) -> Claim:
        try:
            claim = await asyncio.to_thread(
                self._budget.claim, worker.pid, worker.reserved, estimate["fingerprint"], estimate["bytes"]
            )
        except DoesNotFitError as error:
            raise RefusalError(507, f"not enough memory to load {resident.identifier}: {error}") from error
        if worker.reaped.is_set():  # it left before its claim was entered
            self._budget.disclaim(worker.pid)
        return claim

    async def _bring_up_in_time(
        self, resident: Resident, worker: ChildProcess, code: Path | None, claim: Claim
    ) -> Head:
        try:
            return await asyncio.wait_for(self._bring_up(resident, worker, code), self._config.load_s)
        except asyncio.TimeoutError as error:
            raise RefusalError(500, f"the load took more than {self._config.load_s:g} s and was given up") from error
        except RefusalError as refusal:
            if refusal.status == 507:
                await asyncio.to_thread(self._budget.ran_out_of_memory, claim)
            raise

    async def _bring_up(self, resident: Resident, worker: ChildProcess, code: Path | None) -> Head:
        """Have the model loaded by the worker, or by the user's own `model_fn` in its stead."""
        order = {"ask": "load", "directory": resident.url}
        if code is None or resident.handler is None:
            return await self._ask(resident, worker, order)
        opened = await self._ask(resident, resident.handler, opening(code, self._config))
        told = {"handler": opened["style"], "handler_pid": resident.handler.pid}
        if opened["style"] != TOOLKIT:
            return {**await self._ask(resident, worker, order), **told}
        self._processes.kill(worker)
        resident.worker = None
        await worker.exited
        return {**await self._ask(resident, resident.handler, order), **told}

    async def _ask(self, resident: Resident, child: ChildProcess, head: Head) -> Head:
        """Ask a process of a model that is being loaded; what it refuses becomes a `RefusalError`."""
        try:
            answer, _ = await self._processes.ask(resident, child, head)
        except GoneError as gone:
            managed = gone.end.out_of_memory and self._config.admission == "estimate"
            raise RefusalError(507 if managed else 500, f"{resident.identifier} cannot be loaded: {gone}") from gone
        if "error" in answer:
            status = {"RESOURCE_EXHAUSTED": 507, "NO_ARCHIVE": 404}.get(answer["code"], 500)
            words = answer["error"] if answer["code"] in _OURS else f"{answer['code']}: {answer['error']}"
            raise RefusalError(status, f"{resident.identifier} cannot be loaded: {words}")
        return answer


def _refuse_what_is_no_path(url: str) -> None:
    """A path that is too long, or holds a null byte, is not only not there: everything that is asked of it raises."""
    if not Path(url).is_absolute():
        raise RefusalError(400, f"url is {url[:100]!r}; give the folder's whole path, as the platform does")
    try:
        Path(url).stat()
    except FileNotFoundError:
        return  # the worker tells what is there instead
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RefusalError(404, f"the folder {url[:100]!r} cannot be read: {reason}") from error
