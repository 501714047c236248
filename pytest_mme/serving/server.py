"""The embedded server as a whole: starts, serves until it is asked to stop, and ends cleanly."""

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
from pytest_mme.serving.processes.zygote_client import ZygoteClient
from pytest_mme.serving.table.loaded_model import RefusalError
from pytest_mme.serving.table.model_table import ModelTable
from pytest_mme.serving.table.named_models import NamedModels
from pytest_mme.timeline.events import Event, Kind, clock

log = logging.getLogger("pytest_mme")

ZYGOTE_DIED = 70  # EX_SOFTWARE of sysexits.h
UNUSABLE_CODE = 78  # EX_CONFIG
_HANG_UP_S = 1.0  # requests to models have been drained before; slow clients are not waited for


class EventStream:
    """Passes events to *write*, a JSON line each, in a thread of its own: a slow reader stalls no request.

    *log* takes the same events as lines of the log.
    """

    def __init__(
        self, server: str, write: Callable[[bytes], object], log: Callable[[str], object] | None = None
    ) -> None:
        self._server, self._write, self._log = server, write, log
        self._queue: queue.SimpleQueue[bytes | Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def emit(self, kind: Kind, **fields: Any) -> None:
        """Add an event that ends now. Its `at_s` is the system's monotonic clock: the reader makes it relative."""
        self._queue.put(Event(kind=kind, source="server", server=self._server, at_s=time.monotonic(), **fields))

    def announce(self, **facts: Any) -> None:
        """Write the first line: the server's address and properties."""
        self._queue.put(orjson.dumps({"ready": facts}))

    def close(self) -> None:
        """Write the events that are left."""
        self._queue.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            written = item.to_json().encode() if isinstance(item, Event) else item
            if self._log is not None and isinstance(item, Event):
                ago_s = time.monotonic() - item.at_s
                if line := event_line(item, time.time() - ago_s):
                    with contextlib.suppress(OSError):  # a full disk must not keep events from their reader
                        self._log(line)
            with contextlib.suppress(BrokenPipeError):  # the reader is gone; the lifeline ends the server
                self._write(written + b"\n")


async def serve(config: ServingConfig, events: EventStream) -> int:
    """Serve until SIGTERM, SIGINT, the end of the lifeline or the death of the zygote; return the exit status."""
    stop = _stop_requested(config)  # its result: whether to drain first
    zygote = ZygoteClient()
    gpu = Gpu(config.gpu) if config.device == "gpu" else None
    enforcement = enforce(config, zygote.pids, zygote.kill)
    models: ModelTable | NamedModels = (
        ModelTable(config, zygote, Budget(config, enforcement), events.emit, gpu)
        if config.inference is None
        else NamedModels(config, zygote, enforcement, events.emit)
    )
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(enforcement.close)
        ready = await zygote.launch(
            config.tensorflow, enforcement.environment, enforcement.descriptors, devices=gpu.uuid if gpu else ""
        )
        undo.push_async_callback(zygote.close)
        zygote.died.add_done_callback(lambda _: stop.cancel())
        try:
            await _unless_stopped(stop, models.open())
        except RefusalError as refusal:
            log.critical("%s", refusal.message)
            return UNUSABLE_CODE
        if stop.done() and not zygote.died.done():
            return 0  # stopped before it was ready
        port = await undo.enter_async_context(_listening(config, models))
        events.announce(**_facts(port, await ready, enforcement, gpu))
        await asyncio.wait([stop])
        if zygote.died.done():
            code = zygote.died.result()
            log.critical("the zygote ended with code %s; every model is gone, so is this server", code)
            events.emit("crash", outcome=f"zygote {code}", detail={"models": "all"})
            return ZYGOTE_DIED
        if stop.result():
            await models.drain()
        else:
            await zygote.close()
    return 0


async def _unless_stopped(stop: asyncio.Future[bool], opening: Coroutine[None, None, None]) -> None:
    """Wait for *opening*, in which user code may be slow, but no longer than until the server is stopped."""
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
async def _listening(config: ServingConfig, models: ModelTable | NamedModels) -> AsyncIterator[int]:
    from aiohttp import web  # the zygote opens TensorFlow meanwhile

    from pytest_mme.serving.http.app import application

    runner = web.AppRunner(application(models), access_log=None, shutdown_timeout=_HANG_UP_S)
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
