"""Models that one process loads and answers for as its own code likes: a user's `inference_handler`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.zygote_client import Processes
from pytest_mme.serving.table.loaded_model import Answer, Invocation, RefusalError, Resident, State
from pytest_mme.serving.table.universal_handler import UniversalHandler

_SAMPLE_EVERY_S = 0.1


class NamedModels:
    """The names that the front lists. Loads and unloads change that list; what is in memory only the code knows."""

    def __init__(
        self, config: ServingConfig, processes: Processes, limit: Enforcement, emit: Callable[..., None]
    ) -> None:
        self._processes, self._limit, self._emit = processes, limit, emit
        self._table = {name: Resident(name, name, State.READY) for name in config.named}
        assert config.inference is not None
        self._handler = UniversalHandler(config, Path(config.inference), processes, emit, limit)
        self._sampling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Import the code; raises `RefusalError` when that fails, as it does where it runs out of memory."""
        await self._handler.open()
        self._sampling = asyncio.create_task(self._sample())  # no event before the server's first line

    def ready(self) -> list[Resident]:
        """The names."""
        return list(self._table.values())

    def get(self, identifier: str) -> Resident:
        """A name; raises `RefusalError` 404."""
        if identifier not in self._table:
            raise RefusalError(404, f"model {identifier} is not loaded")
        return self._table[identifier]

    async def load(self, identifier: str, url: str) -> Resident:
        """Add a name; raises `RefusalError` 409."""
        if identifier in self._table:
            raise RefusalError(409, f"model {identifier} is already loaded")
        return self._table.setdefault(identifier, Resident(identifier, url, State.READY))

    async def unload(self, identifier: str) -> None:
        """Remove a name; raises `RefusalError` 404."""
        self.get(identifier)
        del self._table[identifier]

    async def invoke(self, identifier: str, invocation: Invocation) -> Answer:
        """What the code answers, also for a name that nobody has listed: it is the code that knows."""
        start, outcome, detail = time.monotonic(), "error", {}
        try:
            answer = await self._handler.invoke(identifier, invocation)
            outcome = "ok" if answer.status < 400 else str(answer.status)
        except RefusalError as refusal:
            outcome, detail = str(refusal.status), {"error": refusal.message}
            raise
        finally:
            self._emit("invoke", model=identifier, outcome=outcome, seconds=time.monotonic() - start, detail=detail)
        return answer

    async def rest(self, identifier: str, asked: Any, body: bytes) -> bytes:
        """There is none: the code has the models."""
        del asked, body
        raise RefusalError(501, f"no TensorFlow Serving answers for {identifier}: inference_handler has loaded it")

    def mark(self, token: str) -> None:
        """Say *token* among the events."""
        self._emit("mark", detail={"token": token})

    async def memory(self) -> dict[str, int | None]:
        """What the process uses and may use, in bytes."""
        used = await asyncio.to_thread(self._limit.used_bytes)
        return {"used_bytes": used, "limit_bytes": self._limit.limit_bytes}

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_EVERY_S)
            more = {"threads": self._processes.threads(), "resident": len(self._table)}
            self._emit("sample", detail={**await self.memory(), **more})

    async def drain(self) -> None:
        """End the process."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self._handler.close()
