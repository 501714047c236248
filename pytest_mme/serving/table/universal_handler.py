"""The front's side of user code: the requests to a handler's process, and the process of a universal handler."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import Invocation, RefusalError, Reply

TOOLKIT = "toolkit"
"""The style of code that loads the model itself, with `model_fn`."""


def open_request(code: Path, config: ServingConfig) -> Head:
    """The request that has a handler's process import the code in a folder; the reply names the code's style."""
    return {"operation": "open", "code": str(code), "at_once": config.handler_requests}


def invoke_request(identifier: str, invocation: Invocation) -> Head:
    """The request that has a handler's process reply to an invocation, without its body."""
    names = [field.name for field in dataclasses.fields(invocation) if field.name != "body"]
    return {"operation": "invoke", "model": identifier, **{name: getattr(invocation, name) for name in names}}


def reply_from(head: Head, body: bytes) -> Reply:
    """The reply that a handler's process gave to `invoke_request`."""
    return Reply(body=body, status=head["status"], content_type=head["content_type"], worked=head["worked"])


class UniversalHandler:
    """One process whose code replies for all models without code of their own; started again after it has died."""

    def __init__(
        self, config: ServingConfig, code: Path, zygote: ZygoteClient, emit: Any, limit: Enforcement | None = None
    ) -> None:
        """*limit*: the limit of its memory; None: like the front, it does not count towards the limit (assumed)."""
        self._config, self.code, self._zygote, self._emit = config, code, zygote, emit
        self._limit, self._kills_seen = limit, 0
        self._child: ChildProcess | None = None
        self._opening = asyncio.Lock()
        self.style = ""

    async def open(self) -> ChildProcess:
        """The process, started when there is none; raises `RefusalError` when the code cannot be imported."""
        async with self._opening:
            if self._child is None or self._child.exited.done():
                restarted = bool(self.style)
                self._child = await self._start()
                if restarted:
                    detail = {"what": "the universal handler", "pid": self._child.pid}
                    self._emit("restart", outcome="ok", detail=detail)
            return self._child

    async def _start(self) -> ChildProcess:
        try:
            reserved = self._limit.reserve() if self._limit else {}
            child = await self._zygote.fork("handler", reserved, limited=self._limit is not None)
        except (OSError, ZygoteGoneError) as error:
            raise RefusalError(503, f"the universal handler cannot be started: {error}") from error
        child.exited.add_done_callback(lambda exited: self._on_exit(child, exited.result()))
        try:
            opened = self._request(child, open_request(self.code, self._config))
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
        self._zygote.kill(child.pid)

    async def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            self._end(child)
            await child.exited

    async def invoke(self, identifier: str, invocation: Invocation) -> Reply:
        """Return the code's reply; raises `RefusalError` 500 when the request killed its process."""
        head = invoke_request(identifier, invocation)
        return reply_from(*await self._request(await self.open(), head, invocation.body))

    async def _request(self, child: ChildProcess, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        try:
            return await child.channel.request(head, body)
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
            whose = {} if self._limit is None else {"models": "all"}  # no other process holds models: `named_models`
            detail = {"pid": child.pid, "code": code, "end": f"universal handler: {end}", **whose}
            self._emit("oom" if end.out_of_memory else "crash", outcome=end.name, detail=detail)

    def _was_out_of_memory(self, code: int) -> bool:
        """Whether the limit's counter of kills has risen with this death."""
        kills = self._limit.kills() if self._limit else 0
        before, self._kills_seen = self._kills_seen, kills
        return code == -signal.SIGKILL and kills > before
