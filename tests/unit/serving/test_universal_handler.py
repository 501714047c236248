"""A universal handler that dies at moments that no real one can be made to meet at will."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import Invocation, RefusalError
from pytest_mme.serving.table.universal_handler import UniversalHandler


class FakeChannel:
    """Replies with the number of its process; the first process dies as soon as it has opened."""

    def __init__(self, zygote: FakeZygote, number: int) -> None:
        self._zygote, self._number = zygote, number

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        child = self._zygote.forked[self._number]
        if head["operation"] == "open":
            if self._number == 0:
                child.exited.set_result(3)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            return {"style": "handler"}, b""
        if child.exited.done():
            raise WorkerGoneError
        return {"status": 200, "content_type": "text/plain", "worked": [0.0, 1.0]}, str(self._number).encode()

    def close(self) -> None:
        """Nothing is held."""


class FakeZygote(ZygoteClient):
    """Forks fakes."""

    def __init__(self) -> None:
        super().__init__()
        self.forked: list[ChildProcess] = []
        self.gone = False

    async def fork(self, *args: Any, **kwargs: Any) -> ChildProcess:
        if self.gone:
            raise ZygoteGoneError("the zygote is gone")
        channel: Any = FakeChannel(self, len(self.forked))
        self.forked.append(ChildProcess(len(self.forked) + 1, channel, asyncio.get_running_loop().create_future()))
        return self.forked[-1]


async def handler() -> tuple[UniversalHandler, FakeZygote]:
    zygote = FakeZygote()
    return UniversalHandler(ServingConfig(), Path("code"), zygote, lambda *_, **__: None), zygote


def test_a_universal_handler_that_dies_as_it_opens_is_started_again_by_the_next_request() -> None:
    async def run() -> bytes:
        universal, _ = await handler()
        await universal.open()
        return (await universal.invoke("m", Invocation(body=b""))).body

    assert asyncio.run(run()) == b"1"


def test_without_a_zygote_a_request_is_503() -> None:
    async def run() -> None:
        universal, zygote = await handler()
        zygote.gone = True
        with pytest.raises(RefusalError) as refused:
            await universal.invoke("m", Invocation(body=b""))
        assert refused.value.status == 503

    asyncio.run(run())
