"""The table of models that a user's `inference_handler` loads itself, all in one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.channel import Head
from pytest_mme.serving.processes.zygote_client import ZygoteClient
from pytest_mme.serving.table.loaded_model import Invocation, LoadedModel, RefusalError, Reply, State, at_work
from pytest_mme.serving.table.universal_handler import UniversalHandler

_SAMPLE_EVERY_S = 0.1


class NamedModels:
    """The list of names. Loads and unloads change only the list; only the code knows what is in memory."""

    def __init__(
        self, config: ServingConfig, zygote: ZygoteClient, limit: Enforcement, emit: Callable[..., None]
    ) -> None:
        self._zygote, self._limit, self._emit = zygote, limit, emit
        self._models = {name: LoadedModel(name, name, State.READY) for name in config.named}
        assert config.inference is not None
        self._handler = UniversalHandler(config, Path(config.inference), zygote, emit, limit)
        self._sampling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Import the code; raises `RefusalError` when that fails, also for lack of memory."""
        await self._handler.open()
        self._sampling = asyncio.create_task(self._sample())  # no event may come before the server's first line

    def ready(self) -> list[LoadedModel]:
        """The models of the list."""
        return list(self._models.values())

    def get(self, identifier: str) -> LoadedModel:
        """A model of the list; raises `RefusalError` 404."""
        if identifier not in self._models:
            raise RefusalError(404, f"model {identifier} is not loaded")
        return self._models[identifier]

    async def load(self, identifier: str, url: str) -> LoadedModel:
        """Add a model to the list; raises `RefusalError` 409."""
        if identifier in self._models:
            raise RefusalError(409, f"model {identifier} is already loaded")
        return self._models.setdefault(identifier, LoadedModel(identifier, url, State.READY))

    async def unload(self, identifier: str) -> None:
        """Remove a model from the list; raises `RefusalError` 404."""
        self.get(identifier)
        del self._models[identifier]

    async def invoke(self, identifier: str, invocation: Invocation) -> Reply:
        """Return the code's reply, also for a model that is not listed: only the code knows which it has."""
        start, outcome = time.monotonic(), "error"
        detail: dict[str, Any] = {}
        try:
            reply = await self._handler.invoke(identifier, invocation)
            outcome = "ok" if reply.status < 400 else str(reply.status)
            detail |= at_work(reply.worked, start)
        except RefusalError as refusal:
            outcome, detail = str(refusal.status), {"error": refusal.message}
            raise
        finally:
            self._emit("invoke", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=detail)
        return reply

    async def rest(self, identifier: str, head: Head, body: bytes) -> bytes:
        """Raise `RefusalError` 501: TensorFlow Serving's REST API has no access to the code's models."""
        del head, body
        raise RefusalError(501, f"there is no TensorFlow Serving API for {identifier}: inference_handler has loaded it")

    def mark(self, token: str) -> None:
        """Write a mark with *token* among the events."""
        self._emit("mark", detail={"token": token})

    async def memory(self) -> dict[str, int | None]:
        """What the process uses, may use and has used at most, in bytes."""
        return await asyncio.to_thread(self._limit.measured)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            more = {"threads": self._zygote.threads(), "resident": len(self._models)}
            self._emit("sample", detail={**await self.memory(), **more})

    async def drain(self) -> None:
        """End the process."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self._handler.close()
