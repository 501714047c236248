"""The faults of one server or endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import UnavailableError
from pytest_mme.faults import chaos, memory, storage
from pytest_mme.faults.chaos import Schedule, Strike
from pytest_mme.faults.intercepting import Around, Diverting, Interception, PingFailing, Surrounding
from pytest_mme.faults.lasting import Lasting, lasting
from pytest_mme.faults.tcp_relay import Connection, Relay
from pytest_mme.hosting.platform import Platform
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.base import STOP_S, Controls, Running, controls_of
from pytest_mme.timeline.calls import plain_call
from pytest_mme.timeline.events import Timeline

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("pytest_mme")
_MIB = 1024 * 1024
_PAUSE_S = 0.01
"""How long a client of `hogged` waits after an error."""


class Victim(Protocol):
    """A `Server` or an `Endpoint`."""

    running: Running
    recording: Timeline
    in_effect: list[Lasting[Any]]

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def platform(self) -> Platform | None:
        """The platform's side of an endpoint, with its archives and its disk; None for a server."""

    def model(self, model: Model | str) -> Model:
        """The model of that name; a model itself as it is."""

    def identifier(self, model: Model) -> str:
        """The id that the server knows *model* by."""

    def invoke(self, model: Model, x: Any) -> Any:
        """Send *model* the one instance *x*."""


def _with_its_call(fault: Callable[Concatenate[Faults, P], T]) -> Callable[Concatenate[Faults, P], T]:
    """Let a fault's event hold the method and the arguments that made it, by which `pytest-mme replay` makes it again.

    A fault that consists of requests and of other faults does without: the timeline has those one by one.
    """
    signature = inspect.signature(fault)

    @functools.wraps(fault)
    def make(faults: Faults, /, *arguments: P.args, **options: P.kwargs) -> T:
        given = dict(list(signature.bind(faults, *arguments, **options).arguments.items())[1:])
        if given.get("model") is not None:
            given["model"] = faults.victim.model(given["model"])
        called = copy.copy(faults)
        called.call = {"call": plain_call(fault.__name__, (), given)}
        return fault(called, *arguments, **options)

    return make


class Faults:
    """The faults of a server or an endpoint; each raises `UnavailableError` where a runtime cannot make it.

    Each leaves a `fault` event with the time that it lasted.
    """

    def __init__(self, victim: Victim, *, seed: int | None = None) -> None:
        """*seed*: what `chaos` uses when it is given none."""
        self.victim = victim
        """What is broken."""
        self._seed = seed
        self.call: Mapping[str, Any] = {}
        """The `call` of the events that are recorded, of a copy that makes one fault."""

    @property
    def _running(self) -> Running:
        return self.victim.running

    def _controls(self, what: str) -> Controls:
        return controls_of(self._running, what)

    @_with_its_call
    def kill(self, model: Model | str) -> None:
        """SIGKILL the process of a loaded model, as the kernel does when memory runs out. There is no way back."""
        model = self.victim.model(model)
        self._controls(f"the process of {model.name}").signal(self.victim.identifier(model), "KILL")
        self._record("killed", model)

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def paused(self, model: Model | str) -> Iterator[None]:
        """Stop the process of a loaded model (SIGSTOP) and let it continue afterwards: a model that hangs."""
        model = self.victim.model(model)
        identifier, controls = self.victim.identifier(model), self._controls(f"the process of {model.name}")
        controls.signal(identifier, "STOP")
        with self._recorded("paused", model):
            try:
                yield
            finally:
                with contextlib.suppress(UnavailableError):  # it has died meanwhile
                    controls.signal(identifier, "CONT")

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def squeezed(self, *, leave_mib: float = 8) -> Iterator[float]:
        """Lower the memory limit to *leave_mib* above what is used now; gives the limit, in MiB.

        Nothing dies of that alone: memory runs out when something asks for more. In a container with little left that
        may be the server itself: 30 MiB killed it in two of some eight runs, 500 MiB in none of 12. A cgroup of
        version 1 refuses a limit below present use (Linux, cgroup-v1/memory.rst).
        """
        with (
            memory.limited(self._running, self._controls("the memory limit"), leave_mib) as limit,
            self._recorded("squeezed", limit_bytes=limit, leave_mib=leave_mib),
        ):
            yield limit / _MIB

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def out_of_memory(self, model: Model | str, *, at: Literal["load", "predict"]) -> Iterator[None]:
        """Let memory run out whenever *model* is loaded, or whenever it replies to a request, inside the block.

        At a load 1 MiB is left: a server that checks first replies 507, in another the kernel kills the model's
        process. At a request the kernel kills the model's process, while it has the request.
        """
        if at not in ("load", "predict"):
            raise ValueError(f"at={at!r}: memory runs out at 'load' or at 'predict'")
        its = self.victim.model(model)
        controls = self._controls("the memory limit")
        alone = memory.OneAtATime(self._running, controls, memory.short if at == "load" else memory.exhausted)

        def around(identifier: str) -> Around | None:
            return alone(identifier) if self._is(its, identifier) else None

        with memory.short(self._running, controls, its.name):  # raise now where that is not possible
            pass
        interception = Interception(self._running)
        call: Literal["load", "invoke"] = "load" if at == "load" else "invoke"
        interceptor = Surrounding(interception.next_client, call, around)
        with self._recorded(f"out of memory at {at}", its), interception.by(interceptor):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def stopped(self, *, grace_s: float = STOP_S) -> Iterator[float]:
        """End the server as the platform does, SIGTERM and after *grace_s* SIGKILL; gives the seconds that it took.

        Afterwards it is started again, with nothing loaded.
        """
        controls, began = self._controls("the end"), time.monotonic()
        if controls.stopped:
            raise UnavailableError(f"the end of {self._running.name}", "it is stopped already", "stop it once")
        took_s = controls.stop(grace_s)
        try:
            yield took_s
        finally:
            controls.start_again()
            self._record("stopped", seconds=time.monotonic() - began, grace_s=grace_s)

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def slowed(self, model: Model | str | None = None, *, latency_s: float) -> Iterator[None]:
        """Let every piece of a request and of its reply arrive *latency_s* seconds later.

        *model*: delay only the requests to that model; None: delay all, as a slow network does.
        """
        its = None if model is None else self.victim.model(model)
        with self._relayed("slowed", its, latency_s=latency_s):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def cut(self, *, silently: bool = False) -> Iterator[None]:
        """Cut the network to the server: connections break, or, *silently*, nothing that is sent arrives."""
        with self._relayed("cut", cutting=True, refusing=not silently, silent=silently):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def ping_failing(self, *, status: int = 500) -> Iterator[None]:
        """Let `/ping` reply with *status*, whatever state the server is in."""
        interception = Interception(self._running)
        interceptor = PingFailing(interception.next_client, status)
        with self._recorded("ping failing", status=status), interception.by(interceptor):
            yield

    @lasting
    @contextlib.contextmanager
    def hogged(self, model: Model | str, *, clients: int = 4, x: Any = None) -> Iterator[None]:
        """Let *clients* send *x* to *model* again and again: it monopolises the server for as long as the block lasts.

        *x*: by default an instance whose prediction is known, or else ``[1.0]``. A model with ``busy_ms`` computes for so
        long on each request; one without keeps this process busy, not the CPU. A request that fails is sent again; where none
        succeeded, the first error is raised at the end.
        """
        over, began = threading.Event(), time.monotonic()
        its = self.victim.model(model)
        instance = next(iter(its.examples), [1.0]) if x is None else x
        errors = list[Exception]()

        def ask() -> int:
            succeeded = 0
            while not over.is_set():
                try:
                    self.victim.invoke(its, instance)
                    succeeded += 1
                except Exception as error:  # noqa: BLE001  whatever it is, it is raised where no request succeeded
                    errors.append(error)
                    over.wait(_PAUSE_S)
            return succeeded

        with ThreadPoolExecutor(clients, "hog") as pool:
            hogs = list[Future[int]]()
            try:
                hogs += [pool.submit(ask) for _ in range(clients)]
                yield
            finally:
                over.set()
                succeeded = sum(hog.result() for hog in hogs)
                self._record("hogged", its, seconds=time.monotonic() - began, clients=clients, requests=succeeded)
        if errors and not succeeded:
            raise errors[0]

    @lasting
    @contextlib.contextmanager
    def chaos(
        self,
        *models: Model | str,
        seconds: float,
        rate: float = 2.0,
        kinds: Sequence[chaos.Kind] = chaos.KINDS,
        seed: int | None = None,
    ) -> Iterator[Schedule]:
        """Break *models* at random for so many *seconds*, or until the block ends; gives the schedule.

        *rate*: faults per second on average, one after the other. *seed*: makes the same schedule again; None: that
        of `--mme-seed`, or else a random one, which is logged and recorded on the timeline.
        """
        chosen = next(one for one in (seed, self._seed, chaos.random_seed()) if one is not None)
        named = {model.name: model for model in map(self.victim.model, models)}
        plan = chaos.schedule(chosen, list(named), seconds=seconds, rate=rate, kinds=kinds)
        log.warning("chaos with seed %d, %d faults: --mme-seed=%d makes the same again", chosen, len(plan), chosen)
        self._record("chaos begins", seed=chosen, faults=len(plan))
        over, began = threading.Event(), time.monotonic()

        def strike_all() -> None:
            for strike in plan:
                if over.wait(began + strike.at_s - time.monotonic()):
                    return
                self._strike(strike, named[strike.model], over)

        with ThreadPoolExecutor(1, "chaos") as pool:
            striking = pool.submit(strike_all)
            try:
                yield plan
            finally:
                over.set()
                striking.exception()  # wait until the last fault is undone
                self._record("chaos", seconds=time.monotonic() - began, seed=chosen)
        striking.result()

    def _strike(self, strike: Strike, model: Model, over: threading.Event) -> None:
        try:
            if strike.kind == "kill":
                return self.kill(model)
            with self.paused(model) if strike.kind == "paused" else self.slowed(latency_s=strike.latency_s):
                over.wait(strike.lasts_s)
        except UnavailableError:  # the model is not in memory
            self._record(f"{strike.kind} missed", model)

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def disk_full(self) -> Iterator[None]:
        """Let the disk that an endpoint's archives are downloaded to be full."""
        with self._storage("disk full") as platform, storage.full(platform.disk):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def s3_slow(self, *, latency_s: float) -> Iterator[None]:
        """Let each download of an endpoint's archives begin *latency_s* seconds later."""
        with self._storage("S3 slow", latency_s=latency_s) as platform, storage.slow(platform.archives, latency_s):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def s3_failing(self, *, status: int = 503, code: str = "SlowDown", times: int | None = None) -> Iterator[None]:
        """Let S3 refuse the next *times* requests for an endpoint's archives, or all.

        boto3 repeats a request after an error that is temporary, such as 503 SlowDown: four times, within seconds (its
        legacy mode), so that a download fails after five refusals.
        """
        refusal: dict[str, Any] = {"status": status, "code": code, "times": times}
        with self._storage("S3 failing", **refusal) as platform, storage.failing(platform.archives, **refusal):
            yield

    @lasting
    @_with_its_call
    @contextlib.contextmanager
    def s3_truncated(self) -> Iterator[None]:
        """Let each download of an endpoint's archives end half-way."""
        with self._storage("S3 truncated") as platform, storage.truncated(platform.archives):
            yield

    @contextlib.contextmanager
    def _storage(self, what: str, **detail: Any) -> Iterator[Platform]:
        platform = self.victim.platform
        if platform is None:
            raise UnavailableError(f"{what} for a server", "it is handed its archives", "break an endpoint")
        with self._recorded(what, **detail):
            yield platform

    @contextlib.contextmanager
    def _relayed(
        self, what: str, model: Model | None = None, *, cutting: bool = False, **network: Any
    ) -> Iterator[None]:
        """Send all calls, or the requests to one *model*, through a `Relay`."""
        interception = Interception(self._running)

        def connect() -> Awaitable[Connection]:
            address = urlsplit(interception.next_client().url)
            return asyncio.open_connection(address.hostname, address.port or 80)

        with (
            Relay(connect, cutting=cutting, **network).running() as port,
            contextlib.closing(ContractClient(routes.origin("127.0.0.1", port))) as relayed,
        ):
            client = relayed
            if model is not None:
                client = Diverting(interception.next_client, relayed, lambda one: self._is(model, one))
            with self._recorded(what, model, **network), interception.by(client):
                yield

    def _is(self, model: Model, identifier: str) -> bool:
        return self.victim.recording.named_in(identifier) == model.name

    @contextlib.contextmanager
    def _recorded(self, outcome: str, model: Model | None = None, **detail: Any) -> Iterator[None]:
        """Record the fault that is in effect for the time of the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._record(outcome, model, seconds=time.monotonic() - began, **detail)

    def _record(self, outcome: str, model: Model | None = None, *, seconds: float | None = None, **detail: Any) -> None:
        self.victim.recording.record(
            "fault",
            source="test",
            server=self._running.name,
            model=model and model.name,
            outcome=outcome,
            seconds=seconds,
            detail={**detail, **self.call},
        )
