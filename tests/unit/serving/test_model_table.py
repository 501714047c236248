"""Moments that no real server can be made to meet at will, met with a worker that is only a story."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget, Claim
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.child_config import ChildKind
from pytest_mme.serving.processes.zygote_client import ChildProcess, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table.loaded_model import RefusalError
from pytest_mme.serving.table.model_table import ModelTable


class StoryChannel:
    """Answers what a worker that loads well would."""

    def __init__(self) -> None:
        self.gone = False

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        if self.gone:
            raise WorkerGoneError
        return {"bytes": 1, "fingerprint": "f", "version": 1, "signatures": []}, body

    def close(self) -> None:
        self.gone = True


class StoryZygote(ZygoteClient):
    """Forks nothing; `kill` is told of the death at once."""

    def __init__(self) -> None:
        super().__init__()
        self.forked: list[ChildProcess] = []

    async def fork(self, kind: ChildKind, reserved: Head, *, limited: bool = True, **settings: Any) -> ChildProcess:
        worker = ChildProcess(len(self.forked) + 1, StoryChannel(), asyncio.get_running_loop().create_future())  # type: ignore[arg-type]
        self.forked.append(worker)
        return worker

    def kill(self, pid: int) -> None:
        self.forked[pid - 1].exited.set_result(-9)


class StoryLimit(Enforcement):
    """Counts the kills that the story tells."""

    name = "story"
    cheap_to_measure = False
    limit_bytes = None

    def __init__(self) -> None:
        self.killed = 0

    def used_bytes(self) -> int:
        return 0

    def kills(self) -> int:
        return self.killed


class StoryBudget(Budget):
    """Lets the story go on just when a load has been answered."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)
    on_left: Callable[[], object] = staticmethod(lambda: None)
    entering: Callable[[], object] = staticmethod(lambda: None)

    def claim(self, *args: Any) -> Claim:
        self.entering()
        return super().claim(*args)

    def release(self, pid: int, reserved: Head) -> None:
        super().release(pid, reserved)
        self.on_left()

    def loaded(self, claim: Claim) -> int:
        self.meanwhile()
        return super().loaded(claim)


class Story:
    """A server's residents, and what they said."""

    def __init__(self) -> None:
        self.processes, self.limit = StoryZygote(), StoryLimit()
        config = ServingConfig()
        self.budget = StoryBudget(config, self.limit)
        self.said: list[tuple[str, Any]] = []
        self.reaped = threading.Event()
        self.budget.on_left = self.reaped.set
        self.residents = ModelTable(
            config, self.processes, self.budget, lambda kind, **fields: self.said.append((kind, fields.get("outcome")))
        )

    def dies(self, number: int, code: int) -> None:
        """The worker of that number is reaped, as the event loop hears of it."""
        self.processes.forked[number].exited.get_loop().call_soon_threadsafe(
            self.processes.forked[number].exited.set_result, code
        )


def test_a_worker_that_dies_right_after_its_load_leaves_no_model_in_the_table() -> None:
    async def tell() -> Story:
        story = Story()
        story.budget.meanwhile = lambda: story.dies(0, -11)
        with pytest.raises(RefusalError, match=r"m cannot be loaded: its worker ended \(SIGSEGV\)"):
            await story.residents.load("m", "/m")
        story.budget.meanwhile = lambda: None
        await story.residents.load("m", "/m")
        return story

    story = asyncio.run(tell())
    assert story.said[:2] == [("crash", "SIGSEGV"), ("load", "500")]
    assert [resident.identifier for resident in story.residents.ready()] == ["m"]


def test_a_worker_that_is_killed_on_purpose_is_not_counted_as_out_of_memory() -> None:
    async def tell() -> Story:
        story = Story()
        await story.residents.load("a", "/a")
        await story.residents.load("b", "/b")
        story.limit.killed = 1  # the kernel has killed a, and nobody has reaped it yet
        await story.residents.unload("b")
        story.dies(0, -9)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return story

    assert asyncio.run(tell()).said[-2:] == [("unload", "ok"), ("oom", "SIGKILL")]


def test_a_worker_that_dies_while_its_claim_is_entered_leaves_no_claim() -> None:
    async def tell() -> Story:
        story = Story()

        def die_first() -> None:
            story.dies(0, -11)
            assert story.reaped.wait(10)

        story.budget.entering = die_first
        with pytest.raises(RefusalError, match=r"m cannot be loaded: its worker ended \(SIGSEGV\)"):
            await story.residents.load("m", "/m")
        return story

    assert asyncio.run(tell()).budget._claims == {}


def test_without_a_zygote_a_load_is_503() -> None:
    async def tell() -> None:
        story = Story()

        async def gone(*_: Any, **__: Any) -> ChildProcess:
            raise ZygoteGoneError("the zygote is gone")

        story.processes.fork = gone  # type: ignore[method-assign]
        with pytest.raises(RefusalError) as refused:
            await story.residents.load("m", "/m")
        assert refused.value.status == 503

    asyncio.run(tell())
