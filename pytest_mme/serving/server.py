"""The embedded server as a whole: starts, serves until it is told to end, and ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import orjson

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.logs import event_line
from pytest_mme.serving.memory.budget import Budget
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.memory.gpu import Gpu
from pytest_mme.serving.memory.limits import enforce
from pytest_mme.serving.processes.zygote_client import Processes
from pytest_mme.serving.table.loaded_model import RefusalError
from pytest_mme.serving.table.model_table import Residents
from pytest_mme.serving.table.named_models import NamedModels
from pytest_mme.timeline.events import Event, Kind, clock

log = logging.getLogger("pytest_mme")

ZYGOTE_DIED = 70  # EX_SOFTWARE of sysexits.h
UNUSABLE_CODE = 78  # EX_CONFIG
_HANG_UP_S = 1.0  # whatever was asked of a model has been drained before: a client that dawdles is not waited for


class EventStream:
    """Hands events to *write*, which takes one JSON line, in a thread of its own: a slow reader stalls no request.

    *log* takes the same events as lines for people.
    """

    def __init__(
        self, server: str, write: Callable[[bytes], object], log: Callable[[str], object] | None = None
    ) -> None:
        self._server, self._write, self._log = server, write, log
        self._queue: queue.SimpleQueue[bytes | Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def emit(self, kind: Kind, **fields: Any) -> None:
        """An event that ends now. Its `at_s` is the system's monotonic clock: the reader makes it relative."""
        self._queue.put(Event(kind=kind, source="server", server=self._server, at_s=time.monotonic(), **fields))

    def announce(self, **facts: Any) -> None:
        """The first line: where the server is and what it is."""
        self._queue.put(orjson.dumps({"ready": facts}))

    def close(self) -> None:
        """Hand over what is left."""
        self._queue.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            line = item.to_json().encode() if isinstance(item, Event) else item
            if isinstance(item, Event) and self._log is not None:
                self._log_event(self._log, item)
            with contextlib.suppress(BrokenPipeError):  # nobody reads any more; the lifeline says so, too
                self._write(line + b"\n")

    @staticmethod
    def _log_event(log: Callable[[str], object], event: Event) -> None:
        ago_s = time.monotonic() - event.at_s
        if said := event_line(event, time.time() - ago_s):
            with contextlib.suppress(OSError):  # a full disk keeps no event from those who read them
                log(said)


async def serve(config: ServingConfig, events: EventStream) -> int:
    """Serve until SIGTERM, SIGINT, the end of the lifeline or the death of the zygote; return the exit status."""
    stop = _stop_requested(config)  # whether to drain first
    processes = Processes()
    gpu = Gpu(config.gpu) if config.device == "gpu" else None
    enforcement = enforce(config, processes.pids, processes.kill)
    residents: Residents | NamedModels = (
        Residents(config, processes, Budget(config, enforcement), events.emit, gpu)
        if config.inference is None
        else NamedModels(config, processes, enforcement, events.emit)
    )
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(enforcement.close)
        ready = await processes.launch(
            config.tensorflow, enforcement.environment, enforcement.descriptors, devices=gpu.uuid if gpu else ""
        )
        undo.push_async_callback(processes.close)
        processes.died.add_done_callback(lambda _: stop.cancel())
        try:
            await _unless_stopped(stop, residents.open())
        except RefusalError as refusal:
            log.critical("%s", refusal.message)
            return UNUSABLE_CODE
        if stop.done() and not processes.died.done():
            return 0  # told to end before it had begun
        port = await undo.enter_async_context(_listening(config, residents))
        events.announce(**_facts(port, await ready, enforcement, gpu))
        await asyncio.wait([stop])
        if processes.died.done():
            code = processes.died.result()
            log.critical("the zygote ended with code %s; every model is gone, so is this server", code)
            events.emit("crash", outcome=f"zygote {code}", detail={"models": "all"})
            return ZYGOTE_DIED
        if stop.result():
            await residents.drain()
        else:
            await processes.close()
    return 0


async def _unless_stopped(stop: asyncio.Future[bool], opening: Coroutine[None, None, None]) -> None:
    """Wait for *opening*, in which the user's code may take its time, but not longer than the server is wanted."""
    task = asyncio.ensure_future(opening)
    either: list[asyncio.Future[Any]] = [stop, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    task.cancel()


def _facts(port: int, version: str, enforcement: Enforcement, gpu: Gpu | None) -> dict[str, Any]:
    cgroup = enforcement.cgroup_directory
    return {
        "port": port,
        "clock": clock(),
        "pid": os.getpid(),
        "tensorflow": version,
        "enforcement": enforcement.name,
        "device": "cpu" if gpu is None else f"gpu {gpu.name}",
        "cgroup": cgroup and str(cgroup),
    }


@contextlib.asynccontextmanager
async def _listening(config: ServingConfig, residents: Residents | NamedModels) -> AsyncIterator[int]:
    from aiohttp import web  # the zygote opens TensorFlow meanwhile

    from pytest_mme.serving.http.app import Front

    runner = web.AppRunner(Front(residents).app(), access_log=None, shutdown_timeout=_HANG_UP_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.host, config.port, backlog=1024)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _stop_requested(config: ServingConfig) -> asyncio.Future[bool]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[bool] = loop.create_future()

    def request(drain: bool) -> None:
        if not stop.done():
            stop.set_result(drain)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request, True)
    if config.lifeline_fd is not None:
        descriptor = config.lifeline_fd

        def read() -> None:
            if not os.read(descriptor, 1):
                loop.remove_reader(descriptor)
                request(False)

        loop.add_reader(descriptor, read)
    return stop
