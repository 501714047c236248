"""Loads a model: starts its processes, claims its memory, has the model loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pytest_mme.archives.code import code_in
from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget, Claim, DoesNotFitError
from pytest_mme.serving.processes.channel import Head
from pytest_mme.serving.processes.model_processes import ModelProcesses, ProcessGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess
from pytest_mme.serving.table.loaded_model import LoadedModel, RefusalError
from pytest_mme.serving.table.universal_handler import TOOLKIT, UniversalHandler, open_request

_OWN_CODES = {"NO_ARCHIVE", "USER_CODE"}  # the others are TensorFlow's


class Loader:
    """Loads models, each into a worker or into a process of user code."""

    def __init__(
        self, config: ServingConfig, processes: ModelProcesses, budget: Budget, universal: UniversalHandler | None
    ) -> None:
        self._config, self._processes, self._budget, self._universal = config, processes, budget, universal

    async def load(self, model: LoadedModel) -> dict[str, Any]:
        """Load a model; returns the detail of its `load` event. Raises `RefusalError` 400, 404, 500 or 507."""
        _check_path(model.url)
        code = code_in(Path(model.url))
        if code is None and self._universal is not None and self._universal.style == TOOLKIT:
            code = self._universal.code  # such code gets a process of its own for each model
        worker = model.worker = await self._processes.start("worker", model)
        request = {"operation": "estimate", "directory": model.url, "code": code and str(code)}
        estimate = await self._request(model, worker, request)
        claim = await self._claim(model, worker, estimate)
        if code is not None:
            model.handler = await self._processes.start("handler", model)
            if not model.handler.reaped.is_set():
                self._budget.join(claim, model.handler.pid, model.handler.reserved)
        loaded = await self._load_in_time(model, worker, code, claim)
        used = await asyncio.to_thread(self._budget.loaded, claim)
        if model.end is not None:  # it died after its reply
            raise RefusalError(500, f"{model.identifier} cannot be loaded: {model.end}")
        holder = model.handler if model.worker is None else worker
        assert holder is not None
        return {
            "pid": holder.pid,
            "bytes": used,
            "estimated_bytes": estimate["bytes"],
            "fingerprint": estimate["fingerprint"],
            **loaded,
        }

    async def _claim(self, model: LoadedModel, worker: ChildProcess, estimate: Head) -> Claim:
        try:
            claim = await asyncio.to_thread(
                self._budget.claim, worker.pid, worker.reserved, estimate["fingerprint"], estimate["bytes"]
            )
        except DoesNotFitError as error:
            raise RefusalError(507, f"not enough memory to load {model.identifier}: {error}") from error
        if worker.reaped.is_set():  # it died before its claim was entered
            self._budget.disclaim(worker.pid)
        return claim

    async def _load_in_time(self, model: LoadedModel, worker: ChildProcess, code: Path | None, claim: Claim) -> Head:
        try:
            return await asyncio.wait_for(self._load(model, worker, code), self._config.load_s)
        except asyncio.TimeoutError as error:
            raise RefusalError(500, f"the load took more than {self._config.load_s:g} s and was given up") from error
        except RefusalError as refusal:
            if refusal.status == 507:
                await asyncio.to_thread(self._budget.ran_out_of_memory, claim)
            raise

    async def _load(self, model: LoadedModel, worker: ChildProcess, code: Path | None) -> Head:
        """Have the model loaded by the worker, or by the user's `model_fn` instead."""
        request = {"operation": "load", "directory": model.url}
        if code is None or model.handler is None:
            return await self._request(model, worker, request)
        opened = await self._request(model, model.handler, open_request(code, self._config))
        handler = {"handler": opened["style"], "handler_pid": model.handler.pid}
        if opened["style"] != TOOLKIT:
            return {**await self._request(model, worker, request), **handler}
        self._processes.kill(worker)
        model.worker = None
        await worker.exited
        return {**await self._request(model, model.handler, request), **handler}

    async def _request(self, model: LoadedModel, child: ChildProcess, head: Head) -> Head:
        """Send a request to a process of a model that is being loaded; an error in the reply becomes a `RefusalError`."""
        try:
            reply, _ = await self._processes.request(model, child, head)
        except ProcessGoneError as gone:
            managed = gone.end.out_of_memory and self._config.admission == "estimate"
            raise RefusalError(507 if managed else 500, f"{model.identifier} cannot be loaded: {gone}") from gone
        if "error" in reply:
            status = {"RESOURCE_EXHAUSTED": 507, "NO_ARCHIVE": 404}.get(reply["code"], 500)
            message = reply["error"] if reply["code"] in _OWN_CODES else f"{reply['code']}: {reply['error']}"
            raise RefusalError(status, f"{model.identifier} cannot be loaded: {message}")
        return reply


def _check_path(url: str) -> None:
    """Refuse a path that is relative, too long, or holds a null byte: every use of the latter two raises."""
    if not Path(url).is_absolute():
        raise RefusalError(400, f"url is {url[:100]!r}; give the folder's whole path, as the platform does")
    try:
        Path(url).stat()
    except FileNotFoundError:
        return  # the worker reports it
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RefusalError(404, f"the folder {url[:100]!r} cannot be read: {reason}") from error
