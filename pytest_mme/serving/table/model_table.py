"""The models that are loaded, each in processes of its own: load, unload, invoke."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.http.invocation_headers import PREDICT
from pytest_mme.serving.memory.budget import Budget
from pytest_mme.serving.memory.gpu import Gpu
from pytest_mme.serving.processes.channel import Head
from pytest_mme.serving.processes.model_processes import GoneError, ModelProcesses
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, Processes
from pytest_mme.serving.rest.statuses import GPU_STATUS, STATUS
from pytest_mme.serving.table.loaded_model import Answer, Invocation, RefusalError, Resident, State
from pytest_mme.serving.table.loader import Loading
from pytest_mme.serving.table.universal_handler import TOOLKIT, UniversalHandler, answered, invoking
from pytest_mme.timeline.events import Kind

Emit = Callable[..., None]
"""Takes an event's kind and fields."""

_MOST_TOLD = 1000  # characters of an error in an event: TensorFlow Serving quotes whole requests
_ENDS = 1000  # of so many models that have died we can still say how


class Residents:
    """The table of loaded models. All methods run in the server's event loop."""

    def __init__(
        self, config: ServingConfig, processes: Processes, budget: Budget, emit: Emit, gpu: Gpu | None = None
    ) -> None:
        self._config, self._processes, self._budget, self._emit, self._gpu = config, processes, budget, emit, gpu
        self._table: dict[str, Resident] = {}
        self._ends: dict[str, End] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False
        code = config.code and Path(config.code)
        self._universal = UniversalHandler(config, code, processes, emit) if code else None
        self._model_processes = ModelProcesses(config, processes, budget, self._died)
        self._loading = Loading(config, self._model_processes, budget, self._universal)

    async def open(self) -> None:
        """Start the universal handler, where there is one; raises `RefusalError` when its code cannot be imported."""
        if self._universal is not None:
            await self._universal.open()
            if self._universal.style == TOOLKIT:  # such code holds one model: each gets a process of its own
                await self._universal.close()

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
        """Load the model in the folder *url*; raises `RefusalError` 409, 507, 404 or 500, and then nothing is left.

        A load that comes while the model of that id is being unloaded begins when that one is gone.
        """
        while present := self._table.get(identifier):
            if present.state is not State.UNLOADING:
                raise RefusalError(409, f"model {identifier} is already {present.state.value}")
            await present.gone.wait()
        self._refuse_when_ending()
        resident = self._table[identifier] = Resident(identifier, url)
        start, detail = time.monotonic(), {"url": url}
        outcome = "error"
        try:
            detail |= await self._loading.load(resident)
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

    def _refuse_when_ending(self) -> None:
        if self._ending:
            raise RefusalError(503, "the server is ending")

    async def invoke(self, identifier: str, invocation: Invocation) -> Answer:
        """What the model, or the user's code for it, answers.

        Raises `RefusalError` with TensorFlow's words, or 500 when a process of the model died of it.
        """
        self._refuse_when_ending()
        resident = self.get(identifier)
        start, outcome = time.monotonic(), "error"
        asked = {"request": invocation.request_id, "target": invocation.target}
        detail = {name: value for name, value in asked.items() if value is not None}
        try:
            async with self._in_flight(resident):
                answer = await self._invoke(resident, invocation)
            outcome = "ok"
            if answer.status >= 400:
                outcome, detail["error"] = str(answer.status), answer.body[:_MOST_TOLD].decode(errors="replace")
        except RefusalError as refusal:
            outcome, detail["error"] = str(refusal.status), refusal.message[:_MOST_TOLD]
            raise
        finally:
            self._emit("invoke", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=detail)
        return answer

    @asynccontextmanager
    async def _in_flight(self, resident: Resident) -> AsyncIterator[None]:
        resident.in_flight += 1
        resident.idle.clear()
        try:
            yield
        finally:
            resident.in_flight -= 1
            if not resident.in_flight:
                resident.idle.set()

    async def _invoke(self, resident: Resident, invocation: Invocation) -> Answer:
        if resident.handler is not None:
            order = invoking(resident.identifier, invocation)
            return answered(*await self._talk(resident, resident.handler, order, invocation.body))
        if self._universal is not None:
            return await self._universal.invoke(resident.identifier, invocation)
        order = {"ask": "invoke", "method": invocation.method or PREDICT, "version": invocation.version}
        return Answer(body=await self._ask_worker(resident, order, invocation.body))

    async def rest(self, identifier: str, order: Head, body: bytes = b"") -> bytes:
        """What the model itself answers to TensorFlow Serving's REST calls, past the user's code.

        A model that is being unloaded still answers the handlers that are at work. Raises `RefusalError`.
        """
        resident = self._table.get(identifier)
        if resident is None or resident.worker is None or not self._at_work(resident):
            raise RefusalError(404, f"Could not find any versions of model {identifier}")
        if resident.state is State.UNLOADING:  # what it waits for, if anything, is the handlers
            return await self._ask_worker(resident, order, body)
        async with self._in_flight(resident):
            return await self._ask_worker(resident, order, body)

    @staticmethod
    def _at_work(resident: Resident) -> bool:
        draining = resident.state is State.UNLOADING and not resident.idle.is_set()
        return draining or resident.state is State.READY

    async def _ask_worker(self, resident: Resident, order: Head, body: bytes) -> bytes:
        assert resident.worker is not None
        head, answer = await self._talk(resident, resident.worker, {"model": resident.identifier, **order}, body)
        if "error" in head:
            raise RefusalError((STATUS if self._gpu is None else GPU_STATUS)[head["code"]], head["error"])
        return answer

    async def _talk(self, resident: Resident, child: ChildProcess, head: Head, body: bytes) -> tuple[Head, bytes]:
        try:
            return await self._model_processes.ask(resident, child, head, body)
        except GoneError as gone:
            raise RefusalError(500, f"model {resident.identifier} is gone: {gone}; load it again") from gone

    async def unload(self, identifier: str) -> None:
        """Let requests in flight finish, within `drain_s`; return when the process is gone. Raises `RefusalError` 404."""
        resident = self._table.get(identifier)
        if resident is not None and resident.state is State.LOADING:
            await resident.settled.wait()
        await self._unload(self.get(identifier), self._config.drain_s)

    async def _unload(self, resident: Resident, drain_s: float) -> None:
        resident.state = State.UNLOADING
        start = time.monotonic()
        drained = await self._drain(resident, drain_s)
        await self._end(resident)
        outcome = "ok" if drained else "cut off"
        self._emit("unload", model=resident.identifier, outcome=outcome, seconds=time.monotonic() - start)
        self._sample()

    async def _drain(self, resident: Resident, drain_s: float) -> bool:
        try:
            await asyncio.wait_for(resident.idle.wait(), drain_s)
        except asyncio.TimeoutError:
            return False
        return True

    async def _end(self, resident: Resident) -> None:
        """End the model's processes, and forget the model once they are gone."""
        await self._model_processes.end(resident)
        self._forget(resident)

    def _forget(self, resident: Resident) -> None:
        if self._table.get(resident.identifier) is resident:
            del self._table[resident.identifier]
        resident.gone.set()

    def _died(self, resident: Resident, child: ChildProcess, end: End) -> None:
        """A process of a model ended by itself: say so, and forget the model, unless its load is about to."""
        if resident.state is not State.LOADING:
            self._remember(resident.identifier, end)
            self._forget_when_gone(resident)
        kind: Kind = "oom" if end.out_of_memory else "crash"
        detail = {"pid": child.pid, "code": end.code, "while": resident.state.value, "end": str(end)}
        self._emit(kind, model=resident.identifier, outcome=end.name, detail=detail)
        self._sample()

    def _forget_when_gone(self, resident: Resident) -> None:
        """Its other process may live a moment longer: until it is gone, too, a load of the same id waits."""
        if all(child.reaped.is_set() for child in resident.children):
            self._forget(resident)
        elif resident.state is not State.UNLOADING:
            resident.state = State.UNLOADING
            self._do(self._end(resident))

    def _remember(self, identifier: str, end: End) -> None:
        self._ends[identifier] = end
        if len(self._ends) > _ENDS:
            del self._ends[next(iter(self._ends))]

    def mark(self, token: str) -> None:
        """Say *token* among the events."""
        self._emit("mark", detail={"token": token})

    async def memory(self) -> dict[str, int | None]:
        """What the workers use and may use, in bytes, and what is used of the GPU's memory, where there is one."""
        used = await asyncio.to_thread(self._budget.enforcement.used_bytes)
        on_gpu = {} if self._gpu is None else await asyncio.to_thread(self._gpu.memory)
        return {"used_bytes": used, "limit_bytes": self._budget.enforcement.limit_bytes, **on_gpu}

    def _sample(self) -> None:
        if self._budget.enforcement.cheap_to_measure:
            self._do(self._emit_sample())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        """Do *work* in the background; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _emit_sample(self) -> None:
        more = {"threads": self._processes.threads(), "resident": len(self.ready())}
        self._emit("sample", detail={**await self.memory(), **more})

    async def drain(self) -> None:
        """Take no new requests, and unload everything at once, within the grace that the platform gives."""
        self._ending = True
        deadline_s = time.monotonic() + self._config.grace_s
        await self._wait_for_all((one.settled for one in self._table.values()), deadline_s)
        left_s = max(0.0, deadline_s - time.monotonic())
        await asyncio.gather(*(self._unload(resident, left_s) for resident in self.ready()))
        await self._wait_for_all((one.gone for one in self._table.values()), deadline_s)  # others are unloading them
        await asyncio.gather(*(self._model_processes.end(resident) for resident in self._table.values()))
        if self._universal is not None:
            await self._universal.close()
        await asyncio.gather(*self._tasks)

    @staticmethod
    async def _wait_for_all(events: Iterable[asyncio.Event], deadline_s: float) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=max(0.0, deadline_s - time.monotonic()))
            for one in late:
                one.cancel()
