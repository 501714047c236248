"""The front's side of users' handlers: where their code is, and the one process of a universal handler."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, Processes, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import Answer, Invocation, RefusalError

TOOLKIT = "toolkit"
"""The style of code that loads the model itself, with `model_fn`."""


def opening(code: Path, config: ServingConfig) -> Head:
    """Asks a handler's process to import the code in a folder; it answers with its style."""
    return {"ask": "open", "code": str(code), "at_once": config.handler_requests}


def invoking(identifier: str, invocation: Invocation) -> Head:
    """Asks a handler's process to answer a request."""
    asked = {field.name: getattr(invocation, field.name) for field in dataclasses.fields(invocation)}
    return {"ask": "invoke", "model": identifier, **{name: value for name, value in asked.items() if name != "body"}}


def answered(head: Head, body: bytes) -> Answer:
    """What a handler's process answered to `invoking`."""
    return Answer(body=body, status=head["status"], content_type=head["content_type"])


class UniversalHandler:
    """One process with one code for all models that bring none of their own; started again when it has ended."""

    def __init__(
        self, config: ServingConfig, code: Path, processes: Processes, emit: Any, limit: Enforcement | None = None
    ) -> None:
        """*limit*: what its memory is limited by; None: like the front it is outside the memory limit (assumed)."""
        self._config, self.code, self._processes, self._emit = config, code, processes, emit
        self._limit, self._kills_seen = limit, 0
        self._child: ChildProcess | None = None
        self._opening = asyncio.Lock()
        self.style = ""

    async def open(self) -> ChildProcess:
        """Its process, started where there is none; raises `RefusalError` when the code cannot be imported."""
        async with self._opening:
            if self._child is None or self._child.exited.done():
                restarted = bool(self.style)
                self._child = await self._start()
                if restarted:
                    detail = {"what": "the universal handler", "pid": self._child.pid}
                    self._emit("restart", outcome="ok", detail=detail)
            return self._child

    async def _start(self) -> ChildProcess:
        child = await self._fork()
        child.exited.add_done_callback(lambda exited: self._on_exit(child, exited.result()))
        try:
            opened = self._ask(child, opening(self.code, self._config))
            head, _ = await asyncio.wait_for(opened, self._config.load_s)
        except asyncio.TimeoutError:
            head = {"error": f"its import took more than {self._config.load_s:g} s and was given up"}
        if "error" in head:
            self._end(child)
            raise RefusalError(500, f"the universal handler cannot be loaded: {head['error']}")
        self.style = head["style"]
        return child

    def _end(self, child: ChildProcess) -> None:
        child.asked_to_end = True
        self._processes.kill(child.pid)

    async def _fork(self) -> ChildProcess:
        try:
            reserved = self._limit.reserve() if self._limit else {}
            return await self._processes.fork("handler", reserved, limited=self._limit is not None)
        except (OSError, ZygoteGoneError) as error:
            raise RefusalError(503, f"the universal handler cannot be started: {error}") from error

    async def close(self) -> None:
        """End its process."""
        child, self._child = self._child, None
        if child is not None:
            self._end(child)
            await child.exited

    async def invoke(self, identifier: str, invocation: Invocation) -> Answer:
        """What the code answers; raises `RefusalError` 500 when its process ended of it."""
        return answered(*await self._ask(await self.open(), invoking(identifier, invocation), invocation.body))

    async def _ask(self, child: ChildProcess, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        try:
            return await child.channel.ask(head, body)
        except WorkerGoneError as error:
            await child.reaped.wait()
            raise RefusalError(500, f"the universal handler is gone: {child.end}") from error

    def _on_exit(self, child: ChildProcess, code: int) -> None:
        child.channel.close()
        if self._child is child:
            self._child = None
        end = child.end = End("process", code, not child.asked_to_end and self._was_out_of_memory(code))
        if self._limit is not None:
            self._limit.release(child.reserved)
        child.reaped.set()
        if not child.asked_to_end:
            whose = {} if self._limit is None else {"models": "all"}  # it alone has them: `named_models`
            detail = {"pid": child.pid, "code": code, "end": f"universal handler: {end}", **whose}
            self._emit("oom" if end.out_of_memory else "crash", outcome=end.name, detail=detail)

    def _was_out_of_memory(self, code: int) -> bool:
        """Whether the limit's own counter rose by this death."""
        kills = self._limit.kills() if self._limit else 0
        before, self._kills_seen = self._kills_seen, kills
        return code == -signal.SIGKILL and kills > before
