"""The processes of the models: started, talked to, ended, and how they ended by themselves."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.child_config import ChildKind
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, Processes, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import RefusalError, Resident


class GoneError(Exception):
    """A process of a model ended before it answered."""

    def __init__(self, end: End) -> None:
        super().__init__(str(end))
        self.end = end


Died = Callable[[Resident, ChildProcess, End], None]
"""Is told of the first process of a model that ended though nobody had asked for it."""


class ModelProcesses:
    """Starts and ends what a model runs in, under the memory limit."""

    def __init__(self, config: ServingConfig, processes: Processes, budget: Budget, died: Died) -> None:
        self._processes, self._budget, self._died = processes, budget, died
        self._kills_seen = 0
        self._settings: dict[str, Any] = {
            "threads": config.cpus,
            "gpu": config.device == "gpu",
            "gpu_memory_fraction": config.gpu_memory_fraction,
            "op_libraries": config.op_libraries,
        }

    async def start(self, kind: ChildKind, resident: Resident) -> ChildProcess:
        """Another process of a model; raises `RefusalError` 507 when the system gives none."""
        reserved: Head = {}
        try:
            reserved = self._budget.enforcement.reserve()
            child = await self._processes.fork(kind, reserved, **self._settings)
        except ZygoteGoneError as error:
            raise RefusalError(503, f"the server is ending: {error}") from error
        except OSError as error:
            self._budget.enforcement.release(reserved)
            raise RefusalError(507, f"the system gave no process for {resident.identifier}: {error}") from error
        resident.children.append(child)
        child.exited.add_done_callback(lambda exited: self._on_exit(resident, child, exited.result()))
        return child

    async def ask(self, resident: Resident, child: ChildProcess, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        """What a process answers; raises `GoneError`, which says what ended it or what took it along."""
        try:
            return await child.channel.ask(head, body)
        except WorkerGoneError as error:
            await child.reaped.wait()  # `exited` alone may be done a moment before `_on_exit` has run
            end = resident.end or child.end
            assert end is not None
            raise GoneError(end) from error

    def kill(self, child: ChildProcess) -> None:
        """End a process that is not needed any more; it is gone when `child.exited` is done."""
        child.asked_to_end = True
        if not child.exited.done():
            self._processes.kill(child.pid)

    async def end(self, resident: Resident) -> None:
        """End all processes of a model and return when they are gone."""
        for child in resident.children:
            self.kill(child)
        for child in resident.children:
            await child.reaped.wait()

    def _on_exit(self, resident: Resident, child: ChildProcess, code: int) -> None:
        """A process was reaped: give back what it held; if nobody asked for its end, end the others and say so."""
        child.channel.close()
        self._budget.release(child.pid, child.reserved)
        child.end = End(child.kind, code, not child.asked_to_end and self._was_out_of_memory(code))
        child.reaped.set()
        if child.asked_to_end:
            return
        resident.end = resident.end or child.end
        for other in resident.children:
            self.kill(other)  # half a model answers nothing
        self._died(resident, child, child.end)

    def _was_out_of_memory(self, code: int) -> bool:
        """Whether the enforcement's own counter rose by this death."""
        kills = self._budget.enforcement.kills()
        if code != -signal.SIGKILL or kills == self._kills_seen:
            return False
        self._kills_seen += 1
        return True
