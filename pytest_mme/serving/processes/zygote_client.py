"""The front's side of the zygote: has it fork workers and handlers, and is notified when they end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme.serving.processes.channel import Channel
from pytest_mme.serving.processes.child_config import ChildKind

_MESSAGE_BYTES = 65536
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # numpy must start none: the zygote forks


class ZygoteGoneError(Exception):
    """The zygote ended, and with it everything that it forked."""


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended."""

    process: str
    """What kind of process it was, for messages."""
    code: int
    out_of_memory: bool

    @property
    def name(self) -> str:
        """The signal's name, or the exit status."""
        return signal.Signals(-self.code).name if self.code < 0 else f"exit {self.code}"

    def __str__(self) -> str:
        if self.out_of_memory:
            return f"its {self.process} was killed for lack of memory ({self.name})"
        return f"its {self.process} ended ({self.name})"


@dataclasses.dataclass(eq=False)
class ChildProcess:
    """A worker, or a process that runs a user's handler, seen from the front."""

    pid: int
    channel: Channel
    exited: asyncio.Future[int]
    """Its exit code once it is reaped: negative for a signal."""
    kind: ChildKind = "worker"
    reserved: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Its place under the memory limit (`Enforcement.reserve`)."""
    limited: bool = True
    """Whether the memory limit applies to it."""
    asked_to_end: bool = False
    end: End | None = None
    reaped: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the process is gone and `end` describes how it ended."""


class ZygoteClient:
    """The zygote and its children, seen from the front."""

    def __init__(self) -> None:
        self.died: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Done when the zygote has ended by itself: its exit code."""
        self.children: dict[int, ChildProcess] = {}
        self._tokens = itertools.count()
        self._orders: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._forking: dict[int, asyncio.Future[ChildProcess]] = {}
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def launch(
        self,
        directory: str | None,
        environment: Mapping[str, str],
        descriptors: tuple[int, ...],
        *,
        devices: str = "",
    ) -> asyncio.Future[str]:
        """Start the zygote on the TensorFlow in *directory*; the result is TensorFlow's version, once it is ready.

        *environment*: variables for the zygote and its workers only. *devices*: the GPU that they, and handlers, may see.
        """
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        its_own = {"TF_CPP_MIN_LOG_LEVEL": "1", **dict.fromkeys(_THREADS, "1"), **environment}
        before = {name: os.environ.get(name) for name in its_own}
        self._zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest_mme.serving.processes.zygote"),
            *(str(theirs.fileno()), directory or "", json.dumps(before)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), *descriptors),
            env={**os.environ, "CUDA_VISIBLE_DEVICES": devices, **its_own},
        )
        theirs.close()
        self._control.setblocking(False)
        asyncio.get_running_loop().add_reader(self._control, self._read_report)
        self._watch = asyncio.create_task(self._await_end())
        return self._ready

    async def fork(
        self, kind: ChildKind, reserved: Mapping[str, Any], *, limited: bool = True, **settings: Any
    ) -> ChildProcess:
        """Fork a process; raises `ZygoteGoneError`, or OSError when the system gives none.

        *settings*: fields of `ChildConfig`. *limited*: whether the memory limit applies to it.
        """
        token, forked = next(self._tokens), asyncio.get_running_loop().create_future()
        self._forking[token] = forked
        ours, theirs = socket.socketpair()
        try:
            order = {"fork": {"token": token, "kind": kind, **settings, **reserved}}
            self._send(order, theirs.fileno())
            child: ChildProcess = await forked  # it may have ended already, and left the table of children
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child.kind, child.reserved, child.limited = kind, reserved, limited
        child.channel = await Channel.over(ours)
        return child

    def kill(self, pid: int) -> None:
        """Have the zygote send SIGKILL to a child: while it has not reaped the pid, no other process can have it."""
        with contextlib.suppress(ZygoteGoneError):  # its children ended with it
            self._send({"kill": pid})

    def _send(self, order: Mapping[str, Any], *descriptors: int) -> None:
        """Send an order to the zygote; orders queue while its socket is full, because it is writing to ours."""
        if self._control.fileno() < 0:
            raise ZygoteGoneError("the zygote is gone")
        self._orders.append((json.dumps(order).encode(), descriptors))
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._orders:
                message, descriptors = self._orders[0]
                socket.send_fds(self._control, [message], list(descriptors))
                self._orders.popleft()
        except BlockingIOError:
            loop.add_writer(self._control, self._flush)
        except ConnectionError:
            self._stop_reading()  # `_await_end` fails the requests that wait
        else:
            loop.remove_writer(self._control)

    def pids(self) -> list[int]:
        """The living processes that the memory limit applies to."""
        return [pid for pid, child in list(self.children.items()) if child.limited]

    def threads(self) -> int:
        """How many threads the living processes have together."""
        found = 0
        for pid in list(self.children):
            with contextlib.suppress(OSError):  # it is gone
                found += len(list(Path(f"/proc/{pid}/task").iterdir()))
        return found

    async def close(self) -> None:
        """End the zygote, which kills and reaps its children first. Closing twice is fine."""
        for child in self.children.values():
            child.asked_to_end = True
        self._watch.cancel()
        self._stop_reading()
        await self._zygote.wait()
        self._all_gone(ZygoteGoneError("the server is ending"))

    def _read_report(self) -> None:
        try:
            message = self._control.recv(_MESSAGE_BYTES)
        except ConnectionError:
            message = b""
        if not message:
            self._stop_reading()
            return
        match json.loads(message):
            case {"ready": version}:
                self._ready.set_result(version)
            case {"forked": token, "error": error}:
                self._forking.pop(token).set_exception(OSError(error))
            case {"forked": token, "pid": pid}:
                exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                child = ChildProcess(pid, None, exited)  # type: ignore[arg-type]  # `fork` sets the channel
                self.children[pid] = child
                self._forking.pop(token).set_result(child)
            case {"exited": pid, "code": code}:
                self.children.pop(pid).exited.set_result(code)

    async def _await_end(self) -> None:
        code = await self._zygote.wait()
        self._stop_reading()
        self._all_gone(ZygoteGoneError(f"the zygote ended with code {code}"))
        self.died.set_result(code)

    def _all_gone(self, reason: ZygoteGoneError) -> None:
        """Fail everything that waits for the zygote, and report every child as ended."""
        pending: list[asyncio.Future[Any]] = [self._ready, *self._forking.values()]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(reason)
                waiting.exception()  # marks it as seen: it may have no waiter
        for child in self.children.values():
            child.exited.set_result(-9)  # the kernel sends SIGKILL to a child whose zygote is gone
        self.children.clear()

    def _stop_reading(self) -> None:
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            asyncio.get_running_loop().remove_writer(self._control)
            self._control.close()
