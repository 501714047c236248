"""The models that are loaded, each in a worker of its own: load, unload, invoke."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_mme.events import Kind
from pytest_mme.serving.channel import Head, WorkerGoneError
from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import Budget, Claim, DoesNotFitError
from pytest_mme.serving.processes import Processes, WorkerProcess
from pytest_mme.serving.statuses import STATUS

Emit = Callable[..., None]
"""Takes an event's kind and fields."""


class RefusalError(Exception):
    """An answer other than 200: its status, and what the body says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message


@dataclasses.dataclass(frozen=True)
class End:
    """How a worker ended that nobody told to."""

    code: int
    out_of_memory: bool

    @property
    def name(self) -> str:
        """The signal's name, or the exit status."""
        return signal.Signals(-self.code).name if self.code < 0 else f"exit {self.code}"

    def __str__(self) -> str:
        if self.out_of_memory:
            return f"its worker was killed for lack of memory ({self.name})"
        return f"its worker ended ({self.name})"


class State(enum.Enum):
    """Where a model is between its load and the end of its worker."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclasses.dataclass(eq=False)
class Resident:
    """One model and its worker."""

    identifier: str
    url: str
    state: State = State.LOADING
    worker: WorkerProcess | None = None
    entered: Head = dataclasses.field(default_factory=dict)
    in_flight: int = 0
    settled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the load is over, one way or the other."""
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    asked_to_end: bool = False
    end: End | None = None
    reaped: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the worker is gone and `end` says how."""

    def __post_init__(self) -> None:
        self.idle.set()


class Residents:
    """The table of loaded models. All methods run in the server's event loop."""

    def __init__(self, config: ServingConfig, processes: Processes, budget: Budget, emit: Emit) -> None:
        self._config, self._processes, self._budget, self._emit = config, processes, budget, emit
        self._table: dict[str, Resident] = {}
        self._ends: dict[str, End] = {}
        self._kills_seen = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def ready(self) -> list[Resident]:
        """What is loaded, in the order of loading."""
        return [resident for resident in self._table.values() if resident.state is State.READY]

    def get(self, identifier: str) -> Resident:
        """A loaded model; raises `RefusalError` 404."""
        resident = self._table.get(identifier)
        if resident is None or resident.state is not State.READY:
            end = self._ends.get(identifier)
            raise RefusalError(404, f"model {identifier} is not loaded" + (f": {end}" if end else ""))
        return resident

    async def load(self, identifier: str, url: str) -> Resident:
        """Load the model in the folder *url*; raises `RefusalError` 409, 507, 404 or 500, and then nothing is left."""
        if identifier in self._table:
            raise RefusalError(409, f"model {identifier} is already {self._table[identifier].state.value}")
        resident = self._table[identifier] = Resident(identifier, url)
        start, detail = time.monotonic(), {"url": url}
        outcome = "error"
        try:
            detail |= await self._load(resident)
            resident.state, outcome = State.READY, "ok"
        except RefusalError as refusal:
            outcome, detail["error"] = str(refusal.status), refusal.message
            raise
        finally:
            if outcome != "ok":
                await self._end(resident)
            self._ends.pop(identifier, None)
            resident.settled.set()
            self._emit("load", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=dict(detail))
            self._sample()
        return resident

    async def _load(self, resident: Resident) -> dict[str, Any]:
        worker = await self._fork(resident)
        estimate = await self._ask(resident, {"ask": "estimate", "directory": resident.url})
        claim = await self._claim(resident, worker, estimate)
        try:
            load = self._ask(resident, {"ask": "load", "directory": resident.url})
            loaded = await asyncio.wait_for(load, self._config.load_s)
        except asyncio.TimeoutError as error:
            raise RefusalError(500, f"the load took more than {self._config.load_s:g} s and was given up") from error
        except RefusalError as refusal:
            if refusal.status == 507:
                await asyncio.to_thread(self._budget.ran_out_of_memory, claim)
            raise
        used = await asyncio.to_thread(self._budget.loaded, claim)
        if resident.end is not None:  # it died in the moment between its answer and now
            raise RefusalError(500, f"{resident.identifier} cannot be loaded: {resident.end}")
        return {
            "pid": worker.pid,
            "bytes": used,
            "estimated_bytes": estimate["bytes"],
            "fingerprint": estimate["fingerprint"],
            **loaded,
        }

    async def _claim(self, resident: Resident, worker: WorkerProcess, estimate: Mapping[str, Any]) -> Claim:
        try:
            return await asyncio.to_thread(
                self._budget.claim, worker.pid, resident.entered, estimate["fingerprint"], estimate["bytes"]
            )
        except DoesNotFitError as error:
            raise RefusalError(507, f"not enough memory to load {resident.identifier}: {error}") from error

    async def _fork(self, resident: Resident) -> WorkerProcess:
        try:
            resident.entered = self._budget.enforcement.enter()
            worker = await self._processes.fork(resident.entered, self._config.cpus)
        except OSError as error:
            self._budget.enforcement.left(resident.entered)
            raise RefusalError(507, f"the system gave no process for {resident.identifier}: {error}") from error
        resident.worker = worker
        worker.exited.add_done_callback(lambda exited: self._on_exit(resident, exited.result()))
        return worker

    async def _ask(self, resident: Resident, head: Head) -> dict[str, Any]:
        """Ask a worker that is loading; what TensorFlow refuses becomes a `RefusalError`."""
        assert resident.worker is not None
        try:
            answer, _ = await resident.worker.channel.ask(head)
        except WorkerGoneError as error:
            end = await self._end_of(resident)
            managed = end.out_of_memory and self._config.admission == "estimate"
            raise RefusalError(507 if managed else 500, f"{resident.identifier} cannot be loaded: {end}") from error
        if "error" in answer:
            status = {"RESOURCE_EXHAUSTED": 507, "NO_ARCHIVE": 404}.get(answer["code"], 500)
            raise RefusalError(status, f"{resident.identifier} cannot be loaded: {answer['error']}")
        return dict(answer)

    async def invoke(self, identifier: str, body: bytes, request_id: str | None) -> bytes:
        """The model's answer to *body*; raises `RefusalError` with TensorFlow's words, or 500 when the worker died of it."""
        resident = self.get(identifier)
        start, outcome = time.monotonic(), "error"
        resident.in_flight += 1
        resident.idle.clear()
        try:
            answer = await self._invoke(resident, body)
            outcome = "ok"
        except RefusalError as refusal:
            outcome = str(refusal.status)
            raise
        finally:
            resident.in_flight -= 1
            if not resident.in_flight:
                resident.idle.set()
            detail = {"request": request_id} if request_id else {}
            self._emit("invoke", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=detail)
        return answer

    async def _invoke(self, resident: Resident, body: bytes) -> bytes:
        assert resident.worker is not None
        try:
            head, answer = await resident.worker.channel.ask({"ask": "invoke"}, body)
        except WorkerGoneError as error:
            end = await self._end_of(resident)
            raise RefusalError(500, f"model {resident.identifier} is gone: {end}; load it again") from error
        if "error" in head:
            raise RefusalError(STATUS[head["code"]], head["error"])
        return answer

    async def unload(self, identifier: str) -> None:
        """Let requests in flight finish, within `drain_s`; return when the process is gone. Raises `RefusalError` 404."""
        resident = self._table.get(identifier)
        if resident is not None and resident.state is State.LOADING:
            await resident.settled.wait()
        resident = self.get(identifier)
        resident.state = State.UNLOADING
        start = time.monotonic()
        drained = await self._drain(resident)
        await self._end(resident)
        outcome = "ok" if drained else "cut off"
        self._emit("unload", model=identifier, outcome=outcome, seconds=time.monotonic() - start)
        self._sample()

    async def _drain(self, resident: Resident) -> bool:
        try:
            await asyncio.wait_for(resident.idle.wait(), self._config.drain_s)
        except asyncio.TimeoutError:
            return False
        return True

    async def _end(self, resident: Resident) -> None:
        """Kill the worker, if there is one, and forget the model once the process is gone."""
        resident.asked_to_end = True
        if resident.worker is not None:
            if not resident.worker.exited.done():
                self._processes.kill(resident.worker.pid)
            await resident.worker.exited
        self._table.pop(resident.identifier, None)

    def _on_exit(self, resident: Resident, code: int) -> None:
        """The worker was reaped: give back what it held; if nobody asked for its end, say so and forget the model."""
        assert resident.worker is not None
        resident.worker.channel.close()
        self._budget.left(resident.worker.pid, resident.entered)
        end = resident.end = End(code, not resident.asked_to_end and self._was_out_of_memory(code))
        resident.reaped.set()
        if resident.asked_to_end:
            return
        if resident.state is not State.LOADING:
            self._table.pop(resident.identifier, None)
            self._ends[resident.identifier] = end
        kind: Kind = "oom" if end.out_of_memory else "crash"
        detail = {"pid": resident.worker.pid, "code": code, "while": resident.state.value, "end": str(end)}
        self._emit(kind, model=resident.identifier, outcome=end.name, detail=detail)
        self._sample()

    def _was_out_of_memory(self, code: int) -> bool:
        """Whether the enforcement's own counter rose by this death."""
        kills = self._budget.enforcement.kills()
        if code != -signal.SIGKILL or kills == self._kills_seen:
            return False
        self._kills_seen += 1
        return True

    async def _end_of(self, resident: Resident) -> End:
        """How the worker ended whose channel closed: the zygote says so a moment later."""
        await resident.reaped.wait()  # `worker.exited` alone may be done a moment before `_on_exit` has run
        assert resident.end is not None
        return resident.end

    def mark(self, token: str) -> None:
        """Say *token* among the events."""
        self._emit("mark", detail={"token": token})

    async def memory(self) -> dict[str, int | None]:
        """What the workers use and may use, in bytes."""
        used = await asyncio.to_thread(self._budget.enforcement.used_bytes)
        return {"used_bytes": used, "limit_bytes": self._config.memory_bytes}

    def _sample(self) -> None:
        if self._budget.enforcement.cheap:
            task = asyncio.create_task(self._emit_sample())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _emit_sample(self) -> None:
        self._emit("sample", detail={**await self.memory(), "resident": len(self.ready())})

    async def drain(self) -> None:
        """Unload everything at once, as `unload` does."""
        await asyncio.gather(*(self.unload(resident.identifier) for resident in self.ready()))
        await asyncio.gather(*self._tasks)
