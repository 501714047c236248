"""The front's side of the zygote: forks workers, hears of their ends."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from pytest_mme.serving.channel import FrontEnd

_MESSAGE_BYTES = 65536
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # numpy must start none: the zygote forks


class ZygoteGoneError(Exception):
    """The zygote ended, and with it every worker."""


@dataclasses.dataclass(eq=False)
class WorkerProcess:
    """One worker's process, seen from the front."""

    pid: int
    channel: FrontEnd
    exited: asyncio.Future[int]
    """Its exit code once it is reaped: negative for a signal."""


class Processes:
    """The zygote and its workers."""

    def __init__(self) -> None:
        self.died: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The zygote's exit code, when it ended though nobody closed it."""
        self.workers: dict[int, WorkerProcess] = {}
        self._tokens = itertools.count()
        self._forking: dict[int, asyncio.Future[WorkerProcess]] = {}
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def launch(
        self, directory: str | None, environment: Mapping[str, str], descriptors: tuple[int, ...]
    ) -> asyncio.Future[str]:
        """Start the zygote on the TensorFlow in *directory*; it will say TensorFlow's version when it is ready."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest_mme.serving.zygote", str(theirs.fileno()), directory or ""),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), *descriptors),
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", **dict.fromkeys(_THREADS, "1"), **environment},
        )
        theirs.close()
        asyncio.get_running_loop().add_reader(self._control, self._hear)
        self._watch = asyncio.create_task(self._await_end())
        return self._ready

    async def fork(self, entered: Mapping[str, Any], threads: int | None) -> WorkerProcess:
        """Fork a worker; raises `ZygoteGoneError`, or OSError when the system gives no process."""
        token, forked = next(self._tokens), asyncio.get_running_loop().create_future()
        self._forking[token] = forked
        ours, theirs = socket.socketpair()
        try:
            order = {"fork": {"token": token, "threads": threads, **entered}}
            socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno()])
            worker: WorkerProcess = await forked  # it may have ended already, and left the table of workers
        except ConnectionError as error:
            ours.close()
            raise ZygoteGoneError from error
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker.channel = await FrontEnd.over(ours)
        return worker

    def kill(self, pid: int) -> None:
        """SIGKILL to a worker, sent by the zygote: a number that it has not reaped is still the worker's own."""
        self._control.send(json.dumps({"kill": pid}).encode())

    def pids(self) -> list[int]:
        """The living workers."""
        return list(self.workers)

    async def close(self) -> None:
        """End the zygote, which kills and reaps its workers first. Closing twice is fine."""
        self._watch.cancel()
        self._stop_hearing()
        await self._zygote.wait()
        self._all_gone(ZygoteGoneError("the server is ending"))

    def _hear(self) -> None:
        message = self._control.recv(_MESSAGE_BYTES)
        if not message:
            self._stop_hearing()
            return
        report = json.loads(message)
        if "ready" in report:
            self._ready.set_result(report["ready"])
        elif "forked" in report:
            self._hear_of_fork(report)
        else:
            worker = self.workers.pop(report["exited"])
            worker.exited.set_result(report["code"])

    def _hear_of_fork(self, report: Mapping[str, Any]) -> None:
        forked = self._forking.pop(report["forked"])
        if "error" in report:
            forked.set_exception(OSError(report["error"]))
            return
        pid = report["pid"]
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        worker = self.workers[pid] = WorkerProcess(pid, None, exited)  # type: ignore[arg-type]  # `fork` sets the channel
        forked.set_result(worker)

    async def _await_end(self) -> None:
        code = await self._zygote.wait()
        self._stop_hearing()
        self._all_gone(ZygoteGoneError(f"the zygote ended with code {code}"))
        self.died.set_result(code)

    def _all_gone(self, reason: ZygoteGoneError) -> None:
        """Whoever waits for the zygote or for a worker hears of their end."""
        everybody: list[asyncio.Future[Any]] = [self._ready, *self._forking.values()]
        for waiting in everybody:
            if not waiting.done():
                waiting.set_exception(reason)
                waiting.exception()  # seen: nobody may be waiting
        for worker in self.workers.values():
            worker.exited.set_result(-9)  # the kernel sends SIGKILL to a worker whose zygote is gone
        self.workers.clear()

    def _stop_hearing(self) -> None:
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
