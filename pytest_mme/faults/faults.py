"""The faults of one server or endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator
from typing import Any, Protocol
from urllib.parse import urlsplit

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import UnavailableError
from pytest_mme.events import Timeline
from pytest_mme.faults import storage
from pytest_mme.faults.relay import Connection, Relay
from pytest_mme.hosting.fetch import S3Folder
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.base import STOP_S, Running

_MIB = 1024 * 1024


def _connect(client: ContractClient) -> Awaitable[Connection]:
    """To where that client asks now: a server that was started again is elsewhere."""
    address = urlsplit(client.url)
    return asyncio.open_connection(address.hostname, address.port or 80)


class Victim(Protocol):
    """A `Server` or an `Endpoint`."""

    running: Running

    def identifier(self, model: Model) -> str:
        """The id that the server knows *model* by."""


class Faults:
    """What can be done to a server, on every runtime that can do it; else `UnavailableError` says why not.

    Each leaves a `fault` event with the time that it lasted.
    """

    def __init__(self, victim: Victim, timeline: Timeline) -> None:
        self._victim, self._timeline = victim, timeline

    @property
    def _running(self) -> Running:
        return self._victim.running

    def kill(self, model: Model) -> None:
        """SIGKILL the process of a loaded model, as the kernel does when memory runs out. There is no way back."""
        self._running.signal(self._victim.identifier(model), "KILL")
        self._tell("killed", model)

    @contextlib.contextmanager
    def paused(self, model: Model) -> Iterator[None]:
        """Stop the process of a loaded model (SIGSTOP) and let it go on afterwards: a model that hangs."""
        identifier = self._victim.identifier(model)
        self._running.signal(identifier, "STOP")
        began = time.monotonic()
        try:
            yield
        finally:
            with contextlib.suppress(UnavailableError):  # it has died meanwhile
                self._running.signal(identifier, "CONT")
            self._tell("paused", model, seconds=time.monotonic() - began)

    @contextlib.contextmanager
    def squeezed(self, *, leave_mib: float = 8) -> Iterator[float]:
        """Lower the memory limit to *leave_mib* above what is used now; gives the limit, in MiB.

        Nothing dies of that alone: memory runs out when something asks for more. In a container with little left that
        may be the server itself: 30 MiB took it along in two of some eight runs, 500 MiB in none of 12. A limit below
        present use is what a version 1 cgroup refuses (Linux, cgroup-v1/memory.rst).
        """
        limit = self._running.used_bytes() + int(leave_mib * _MIB)
        before = self._running.limit_memory(limit)
        began = time.monotonic()
        try:
            yield limit / _MIB
        finally:
            with contextlib.suppress(UnavailableError):  # it has ended meanwhile
                self._running.limit_memory(before)
            self._tell("squeezed", seconds=time.monotonic() - began, limit_bytes=limit)

    @contextlib.contextmanager
    def stopped(self, *, grace_s: float = STOP_S) -> Iterator[float]:
        """End the server as the platform does, SIGTERM and after *grace_s* SIGKILL; gives the seconds that it took.

        Afterwards it is started again, with nothing loaded.
        """
        took_s = self._running.stop(grace_s)
        began = time.monotonic()
        try:
            yield took_s
        finally:
            self._running.start_again()
            self._tell("stopped", seconds=time.monotonic() - began)

    @contextlib.contextmanager
    def slowed(self, *, latency_s: float) -> Iterator[None]:
        """Let every piece of a request and of its answer arrive *latency_s* seconds later."""
        with self._relayed("slowed", latency_s=latency_s):
            yield

    @contextlib.contextmanager
    def cut(self, *, silently: bool = False) -> Iterator[None]:
        """Cut the network to the server: connections break, or, *silently*, nothing that is sent arrives."""
        with self._relayed("cut", refusing=not silently, silent=silently):
            yield

    @contextlib.contextmanager
    def s3_slow(self, *, latency_s: float) -> Iterator[None]:
        """Let each download of an endpoint's archives begin *latency_s* seconds later."""
        with self._storage("S3 slow", latency_s=latency_s) as folder, storage.slow(folder, latency_s):
            yield

    @contextlib.contextmanager
    def s3_failing(self, *, status: int = 503, code: str = "SlowDown", times: int | None = None) -> Iterator[None]:
        """Let S3 refuse the next *times* downloads of an endpoint's archives, or all.

        boto3 tries again what is said to pass, such as 503 SlowDown: four times, within seconds (its legacy mode).
        """
        said: dict[str, Any] = {"status": status, "code": code, "times": times}
        with self._storage("S3 failing", **said) as folder, storage.failing(folder, **said):
            yield

    @contextlib.contextmanager
    def s3_truncated(self) -> Iterator[None]:
        """Let each download of an endpoint's archives end half-way."""
        with self._storage("S3 truncated") as folder, storage.truncated(folder):
            yield

    @contextlib.contextmanager
    def _storage(self, what: str, **detail: Any) -> Iterator[S3Folder]:
        folder = getattr(self._victim, "storage", None)
        if folder is None:
            raise UnavailableError(f"{what} for a server", "it is handed its archives", "break an endpoint")
        began = time.monotonic()
        try:
            yield folder
        finally:
            self._tell(what, seconds=time.monotonic() - began, **detail)

    @contextlib.contextmanager
    def _relayed(self, what: str, **network: Any) -> Iterator[None]:
        """For requests that begin in between; those in flight go on as they began."""
        running, before = self._running, self._running.detour
        began = time.monotonic()
        with (
            Relay(lambda: _connect(before or running.direct), **network).running() as port,
            contextlib.closing(ContractClient(routes.origin("127.0.0.1", port))) as detour,
        ):
            running.detour = detour
            try:
                yield
            finally:
                running.detour = before
                self._tell(what, seconds=time.monotonic() - began, **network)

    def _tell(self, outcome: str, model: Model | None = None, *, seconds: float | None = None, **detail: Any) -> None:
        self._timeline.record(
            "fault",
            source="test",
            server=self._running.name,
            model=model and model.name,
            outcome=outcome,
            seconds=seconds,
            detail=detail,
        )
