"""Moments that a real server cannot be made to meet reliably, with fake workers."""

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


class FakeChannel:
    """Replies as a worker whose load succeeds."""

    def __init__(self) -> None:
        self.gone = False

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        if self.gone:
            raise WorkerGoneError
        return {"bytes": 1, "fingerprint": "f", "version": 1, "signatures": []}, body

    def close(self) -> None:
        self.gone = True


class FakeZygote(ZygoteClient):
    """Forks no process; a child that is killed has exited at once."""

    def __init__(self) -> None:
        super().__init__()
        self.forked: list[ChildProcess] = []

    async def fork(self, kind: ChildKind, reserved: Head, *, limited: bool = True, **settings: Any) -> ChildProcess:
        worker = ChildProcess(len(self.forked) + 1, FakeChannel(), asyncio.get_running_loop().create_future())  # type: ignore[arg-type]
        self.forked.append(worker)
        return worker

    def kill(self, pid: int) -> None:
        self.forked[pid - 1].exited.set_result(-9)


class FakeLimit(Enforcement):
    """Counts the kills that the test sets."""

    name = "fake"
    cheap_to_measure = False
    limit_bytes = None

    def __init__(self) -> None:
        self.killed = 0

    def used_bytes(self) -> int:
        return 0

    def kills(self) -> int:
        return self.killed


class FakeBudget(Budget):
    """Calls the test's functions at moments of a load."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)
    on_release: Callable[[], object] = staticmethod(lambda: None)
    entering: Callable[[], object] = staticmethod(lambda: None)

    def claim(self, *args: Any) -> Claim:
        self.entering()
        return super().claim(*args)

    def release(self, pid: int, reserved: Head) -> None:
        super().release(pid, reserved)
        self.on_release()

    def loaded(self, claim: Claim) -> int:
        self.meanwhile()
        return super().loaded(claim)


class Scene:
    """A model table with fakes around it, and the events that it emitted."""

    def __init__(self) -> None:
        self.zygote, self.limit = FakeZygote(), FakeLimit()
        config = ServingConfig()
        self.budget = FakeBudget(config, self.limit)
        self.events: list[tuple[str, Any]] = []
        self.reaped = threading.Event()
        self.budget.on_release = self.reaped.set
        self.table = ModelTable(
            config, self.zygote, self.budget, lambda kind, **fields: self.events.append((kind, fields.get("outcome")))
        )

    def dies(self, number: int, code: int) -> None:
        """Have the event loop reap the worker of that number."""
        self.zygote.forked[number].exited.get_loop().call_soon_threadsafe(
            self.zygote.forked[number].exited.set_result, code
        )


def test_a_worker_that_dies_right_after_its_load_leaves_no_model_in_the_table() -> None:
    async def run() -> Scene:
        scene = Scene()
        scene.budget.meanwhile = lambda: scene.dies(0, -11)
        with pytest.raises(RefusalError, match=r"m cannot be loaded: its worker ended \(SIGSEGV\)"):
            await scene.table.load("m", "/m")
        scene.budget.meanwhile = lambda: None
        await scene.table.load("m", "/m")
        return scene

    scene = asyncio.run(run())
    assert scene.events[:2] == [("crash", "SIGSEGV"), ("load", "500")]
    assert [resident.identifier for resident in scene.table.ready()] == ["m"]


def test_a_worker_that_is_killed_on_purpose_is_not_counted_as_out_of_memory() -> None:
    async def run() -> Scene:
        scene = Scene()
        await scene.table.load("a", "/a")
        await scene.table.load("b", "/b")
        scene.limit.killed = 1  # the kernel has killed a, which is not reaped yet
        await scene.table.unload("b")
        scene.dies(0, -9)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return scene

    assert asyncio.run(run()).events[-2:] == [("unload", "ok"), ("oom", "SIGKILL")]


def test_a_worker_that_dies_while_its_claim_is_entered_leaves_no_claim() -> None:
    async def run() -> Scene:
        scene = Scene()

        def die_first() -> None:
            scene.dies(0, -11)
            assert scene.reaped.wait(10)

        scene.budget.entering = die_first
        with pytest.raises(RefusalError, match=r"m cannot be loaded: its worker ended \(SIGSEGV\)"):
            await scene.table.load("m", "/m")
        return scene

    assert asyncio.run(run()).budget._claims == {}


def test_without_a_zygote_a_load_is_503() -> None:
    async def run() -> None:
        scene = Scene()

        async def gone(*_: Any, **__: Any) -> ChildProcess:
            raise ZygoteGoneError("the zygote is gone")

        scene.zygote.fork = gone  # type: ignore[method-assign]
        with pytest.raises(RefusalError) as refused:
            await scene.table.load("m", "/m")
        assert refused.value.status == 503

    asyncio.run(run())
