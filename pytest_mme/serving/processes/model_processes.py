"""The processes of the loaded models: starts and ends them, sends requests to them, notices when one dies."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.child_config import ChildKind
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import LoadedModel, RefusalError


class ProcessGoneError(Exception):
    """A process of a model ended before it replied."""

    def __init__(self, end: End) -> None:
        super().__init__(str(end))
        self.end = end


OnDeath = Callable[[LoadedModel, ChildProcess, End], None]
"""Called with the first process of a model that ended by itself."""


class ModelProcesses:
    """Starts and ends the processes of models, under the memory limit."""

    def __init__(self, config: ServingConfig, zygote: ZygoteClient, budget: Budget, on_death: OnDeath) -> None:
        self._zygote, self._budget, self._on_death = zygote, budget, on_death
        self._kills_seen = 0
        self._settings: dict[str, Any] = {
            "threads": config.cpus,
            "gpu": config.device == "gpu",
            "gpu_memory_fraction": config.gpu_memory_fraction,
            "op_libraries": config.op_libraries,
        }

    async def start(self, kind: ChildKind, model: LoadedModel) -> ChildProcess:
        """Start another process of a model; raises `RefusalError` 507 when the system refuses, 503 without a zygote."""
        reserved: Mapping[str, Any] = {}
        try:
            reserved = self._budget.enforcement.reserve()
            child = await self._zygote.fork(kind, reserved, **self._settings)
        except ZygoteGoneError as error:
            raise RefusalError(503, f"the server is ending: {error}") from error
        except OSError as error:
            self._budget.enforcement.release(reserved)
            raise RefusalError(507, f"the system gave no process for {model.identifier}: {error}") from error
        model.children.append(child)
        child.exited.add_done_callback(lambda exited: self._on_exit(model, child, exited.result()))
        return child

    async def request(
        self, model: LoadedModel, child: ChildProcess, head: Head, body: bytes = b""
    ) -> tuple[Head, bytes]:
        """Send a request to a process of a model; raises `ProcessGoneError`, which names the first of them that died."""
        try:
            return await child.channel.request(head, body)
        except WorkerGoneError as error:
            await child.reaped.wait()  # `exited` may be done a moment before `_on_exit` has run
            end = model.end or child.end
            assert end is not None
            raise ProcessGoneError(end) from error

    def kill(self, child: ChildProcess) -> None:
        """Kill a process that is not needed any more; it is gone when `child.exited` is done."""
        child.asked_to_end = True
        if not child.exited.done():
            self._zygote.kill(child.pid)

    async def end(self, model: LoadedModel) -> None:
        """Kill all processes of a model and return when they are gone."""
        for child in model.children:
            self.kill(child)
        for child in model.children:
            await child.reaped.wait()

    def _on_exit(self, model: LoadedModel, child: ChildProcess, code: int) -> None:
        """Free what a reaped process held; when it ended by itself, kill the model's others and notify `on_death`."""
        child.channel.close()
        self._budget.release(child.pid, child.reserved)
        child.end = End(child.kind, code, not child.asked_to_end and self._was_out_of_memory(code))
        child.reaped.set()
        if child.asked_to_end:
            return
        model.end = model.end or child.end
        for other in model.children:
            self.kill(other)  # half a model cannot reply
        self._on_death(model, child, child.end)

    def _was_out_of_memory(self, code: int) -> bool:
        """Whether the enforcement's counter of kills has risen with this death."""
        kills = self._budget.enforcement.kills()
        if code != -signal.SIGKILL or kills == self._kills_seen:
            return False
        self._kills_seen += 1
        return True
