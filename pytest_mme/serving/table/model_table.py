"""The table of loaded models, each in processes of its own: load, unload, invoke."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.http.invocation_headers import PREDICT
from pytest_mme.serving.memory.budget import Budget
from pytest_mme.serving.memory.gpu import Gpu
from pytest_mme.serving.processes.channel import Head
from pytest_mme.serving.processes.model_processes import ModelProcesses, ProcessGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, ZygoteClient
from pytest_mme.serving.statuses import GPU_STATUS, STATUS
from pytest_mme.serving.table.loaded_model import Invocation, LoadedModel, RefusalError, Reply, State, at_work
from pytest_mme.serving.table.loader import Loader
from pytest_mme.serving.table.universal_handler import TOOLKIT, UniversalHandler, invoke_request, reply_from
from pytest_mme.timeline.events import Kind

Emit = Callable[..., None]
"""Takes an event's kind and fields."""

_MAX_ERROR = 1000  # characters of an error in an event: TensorFlow Serving quotes whole requests
_MAX_ENDS = 1000  # how many models that have died are remembered


class ModelTable:
    """The table of loaded models. All methods run in the server's event loop."""

    def __init__(
        self, config: ServingConfig, zygote: ZygoteClient, budget: Budget, emit: Emit, gpu: Gpu | None = None
    ) -> None:
        self._config, self._zygote, self._budget, self._emit, self._gpu = config, zygote, budget, emit, gpu
        self._models: dict[str, LoadedModel] = {}
        self._ends: dict[str, End] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False
        code = config.code and Path(config.code)
        self._universal = UniversalHandler(config, code, zygote, emit) if code else None
        self._processes = ModelProcesses(config, zygote, budget, self._on_death)
        self._loader = Loader(config, self._processes, budget, self._universal)

    async def open(self) -> None:
        """Start the universal handler, where there is one; raises `RefusalError` when its code cannot be imported."""
        if self._universal is not None:
            await self._universal.open()
            if self._universal.style == TOOLKIT:  # such code holds one model: each gets a process of its own
                await self._universal.close()

    def ready(self) -> list[LoadedModel]:
        """The loaded models, in the order of loading."""
        return [model for model in self._models.values() if model.state is State.READY]

    def get(self, identifier: str) -> LoadedModel:
        """A loaded model; raises `RefusalError` 404."""
        model = self._models.get(identifier)
        if model is None or model.state is not State.READY:
            end = self._ends.get(identifier)
            raise RefusalError(404, f"model {identifier} is not loaded" + (f": {end}" if end else ""))
        return model

    async def load(self, identifier: str, url: str) -> LoadedModel:
        """Load the model in the folder *url*; raises `RefusalError` 400, 404, 409, 500, 503 or 507, and then nothing is left.

        While a model of that id is being unloaded, the load waits until it is gone.
        """
        while present := self._models.get(identifier):
            if present.state is not State.UNLOADING:
                raise RefusalError(409, f"model {identifier} is already {present.state.value}")
            await present.gone.wait()
        self._refuse_when_ending()
        model = self._models[identifier] = LoadedModel(identifier, url)
        start, detail = time.monotonic(), {"url": url}
        outcome = "error"
        try:
            detail |= await self._loader.load(model)
            model.state, outcome = State.READY, "ok"
        except RefusalError as refusal:
            outcome, detail["error"] = str(refusal.status), refusal.message
            raise
        finally:
            if outcome != "ok":
                await self._end(model)
            self._ends.pop(identifier, None)
            model.settled.set()
            self._emit("load", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=dict(detail))
            self._sample()
        return model

    def _refuse_when_ending(self) -> None:
        if self._ending:
            raise RefusalError(503, "the server is ending")

    async def invoke(self, identifier: str, invocation: Invocation) -> Reply:
        """Return the reply of the model, or of the user code for it.

        Raises `RefusalError` with TensorFlow's message, or 500 when the request killed a process of the model.
        """
        self._refuse_when_ending()
        model = self.get(identifier)
        start, outcome, worked = time.monotonic(), "error", None
        known = {"request": invocation.request_id, "target": invocation.target}
        detail: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
        try:
            async with self._in_flight(model):
                reply = await self._invoke(model, invocation)
            outcome, worked = "ok", reply.worked
            if reply.status >= 400:
                outcome, detail["error"] = str(reply.status), reply.body[:_MAX_ERROR].decode(errors="replace")
        except RefusalError as refusal:
            outcome, detail["error"] = str(refusal.status), refusal.message[:_MAX_ERROR]
            worked = refusal.worked
            raise
        finally:
            detail |= at_work(worked, start)
            self._emit("invoke", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=detail)
        return reply

    @asynccontextmanager
    async def _in_flight(self, model: LoadedModel) -> AsyncIterator[None]:
        model.in_flight += 1
        model.idle.clear()
        try:
            yield
        finally:
            model.in_flight -= 1
            if not model.in_flight:
                model.idle.set()

    async def _invoke(self, model: LoadedModel, invocation: Invocation) -> Reply:
        if model.handler is not None:
            head = invoke_request(model.identifier, invocation)
            return reply_from(*await self._request(model, model.handler, head, invocation.body))
        if self._universal is not None:
            return await self._universal.invoke(model.identifier, invocation)
        head = {"operation": "invoke", "method": invocation.method or PREDICT, "version": invocation.version}
        reply, content = await self._request_worker(model, head, invocation.body)
        return Reply(body=content, worked=reply["worked"])

    async def rest(self, identifier: str, head: Head, body: bytes = b"") -> bytes:
        """Return the model's own reply to a call of TensorFlow Serving's REST API, past the user's code.

        A model that is being unloaded still serves the handlers that are at work. Raises `RefusalError`.
        """
        model = self._models.get(identifier)
        if model is not None and model.worker is not None:
            if model.state is State.UNLOADING and not model.idle.is_set():  # it waits for the handlers in flight
                return (await self._request_worker(model, head, body))[1]
            if model.state is State.READY:
                async with self._in_flight(model):
                    return (await self._request_worker(model, head, body))[1]
        raise RefusalError(404, f"Could not find any versions of model {identifier}")

    async def _request_worker(self, model: LoadedModel, head: Head, body: bytes) -> tuple[Head, bytes]:
        assert model.worker is not None
        reply, content = await self._request(model, model.worker, {"model": model.identifier, **head}, body)
        if "error" in reply:
            status = (STATUS if self._gpu is None else GPU_STATUS)[reply["code"]]
            raise RefusalError(status, reply["error"], worked=reply["worked"])
        return reply, content

    async def _request(self, model: LoadedModel, child: ChildProcess, head: Head, body: bytes) -> tuple[Head, bytes]:
        try:
            return await self._processes.request(model, child, head, body)
        except ProcessGoneError as gone:
            raise RefusalError(500, f"model {model.identifier} is gone: {gone}; load it again") from gone

    async def unload(self, identifier: str) -> None:
        """Let requests in flight finish, within `drain_s`; returns when the processes are gone. Raises `RefusalError` 404."""
        model = self._models.get(identifier)
        if model is not None and model.state is State.LOADING:
            await model.settled.wait()
        await self._unload(self.get(identifier), time.monotonic() + self._config.drain_s)

    async def _unload(self, model: LoadedModel, deadline_s: float) -> None:
        model.state = State.UNLOADING
        start = time.monotonic()
        await self._wait_for_all([model.idle], deadline_s)
        outcome = "ok" if model.idle.is_set() else "cut off"
        await self._end(model)
        self._emit("unload", model=model.identifier, outcome=outcome, seconds=time.monotonic() - start)
        self._sample()

    async def _end(self, model: LoadedModel) -> None:
        """End the model's processes; once they are gone, remove it from the table."""
        await self._processes.end(model)
        self._remove(model)

    def _remove(self, model: LoadedModel) -> None:
        if self._models.get(model.identifier) is model:
            del self._models[model.identifier]
        model.gone.set()

    def _on_death(self, model: LoadedModel, child: ChildProcess, end: End) -> None:
        """A process of a model died by itself: emit the event and remove the model; a load in progress does so itself."""
        if model.state is not State.LOADING:
            self._ends[model.identifier] = end
            if len(self._ends) > _MAX_ENDS:
                del self._ends[next(iter(self._ends))]
            if all(child.reaped.is_set() for child in model.children):
                self._remove(model)
            elif model.state is not State.UNLOADING:  # a load of the same id waits until its other process is gone, too
                model.state = State.UNLOADING
                self._in_background(self._end(model))
        kind: Kind = "oom" if end.out_of_memory else "crash"
        detail = {"pid": child.pid, "code": end.code, "while": model.state.value, "end": str(end)}
        self._emit(kind, model=model.identifier, outcome=end.name, detail=detail)
        self._sample()

    def mark(self, token: str) -> None:
        """Write a mark with *token* among the events."""
        self._emit("mark", detail={"token": token})

    async def memory(self) -> dict[str, int | None]:
        """What the workers use, may use and have used at most, in bytes; with a GPU, also what is used of its memory."""
        measured = await asyncio.to_thread(self._budget.enforcement.measured)
        on_gpu = {} if self._gpu is None else await asyncio.to_thread(self._gpu.memory)
        return {**measured, **on_gpu}

    def _sample(self) -> None:
        if self._budget.enforcement.cheap_to_measure:
            self._in_background(self._emit_sample())

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* as a task, for which `drain` waits."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _emit_sample(self) -> None:
        more = {"threads": self._zygote.threads(), "resident": len(self.ready())}
        self._emit("sample", detail={**await self.memory(), **more})

    async def drain(self) -> None:
        """Take no new requests, and unload all models at once, within the grace period that the platform gives."""
        self._ending = True
        deadline_s = time.monotonic() + self._config.grace_s
        await self._wait_for_all((one.settled for one in self._models.values()), deadline_s)
        await asyncio.gather(*(self._unload(model, deadline_s) for model in self.ready()))
        await self._wait_for_all(
            (one.gone for one in self._models.values()), deadline_s
        )  # calls are unloading them already
        await asyncio.gather(*(self._processes.end(model) for model in self._models.values()))
        if self._universal is not None:
            await self._universal.close()
        await asyncio.gather(*self._tasks)

    @staticmethod
    async def _wait_for_all(events: Iterable[asyncio.Event], deadline_s: float) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=deadline_s - time.monotonic())
            for one in late:
                one.cancel()
