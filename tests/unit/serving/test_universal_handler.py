"""A universal handler that dies at moments that no real one can be made to meet at will."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.zygote_client import ChildProcess, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table import named_models
from pytest_mme.serving.table.loaded_model import Invocation, RefusalError, Reply
from pytest_mme.serving.table.named_models import NamedModels
from pytest_mme.serving.table.universal_handler import UniversalHandler, invoke_request


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


def test_a_request_has_all_that_is_known_of_it_but_its_body() -> None:
    invocation = Invocation(body=b"x", method="classify", version=3, request_id="r", target="m.tar.gz")
    assert invoke_request("m", invocation) == {
        "operation": "invoke",
        "model": "m",
        "method": "classify",
        "version": 3,
        "content_type": "application/json",
        "accept": "application/json",
        "attributes": None,
        "target": "m.tar.gz",
        "request_id": "r",
        "rest_uri": "",
    }


# What becomes of its process


class Channel:
    """Opens the code, or has its import take for ever, or fails it."""

    def __init__(self, opening: str) -> None:
        self._opening = opening

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        if self._opening == "for ever":
            await asyncio.Event().wait()
        return ({"error": "SyntaxError"} if self._opening == "fails" else {"style": "handler"}), body

    def close(self) -> None:
        """Nothing is held."""


class Zygote(ZygoteClient):
    """Forks fakes, and notes what it is to kill; they are gone when the test says so."""

    def __init__(self, opening: str = "opens") -> None:
        super().__init__()
        self.forked: list[ChildProcess] = []
        self.killed: list[int] = []
        self.opening = opening

    async def fork(self, kind: Any, reserved: Any, **_: Any) -> ChildProcess:
        channel: Any = Channel(self.opening)
        exited = asyncio.get_running_loop().create_future()
        self.forked.append(ChildProcess(len(self.forked) + 1, channel, exited, kind, reserved))
        return self.forked[-1]

    def kill(self, pid: int) -> None:
        self.killed.append(pid)


class Limit(Enforcement):
    """Counts the kills that the test sets, and notes the places that are freed."""

    name, cheap_to_measure, limit_bytes = "fake", False, None

    def __init__(self) -> None:
        self.killed, self.released = 0, list[Any]()

    def used_bytes(self) -> int:
        return 7

    def kills(self) -> int:
        return self.killed

    def reserve(self) -> dict[str, Any]:
        return {"place": 1}

    def release(self, reserved: Any) -> None:
        self.released.append(reserved)


class Scene:
    """A universal handler with fakes around it, and the events that it emitted."""

    def __init__(self, opening: str = "opens", **config: Any) -> None:
        self.zygote, self.limit, self.events = Zygote(opening), Limit(), list[tuple[str, Any]]()
        self.details: list[Any] = []
        self.handler = UniversalHandler(ServingConfig(**config), Path("code"), self.zygote, self.emit, self.limit)

    def emit(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields.get("outcome")))
        self.details.append(fields["detail"])

    async def dies(self, code: int) -> None:
        self.zygote.forked[-1].exited.set_result(code)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_only_a_later_process_is_a_restart_and_only_a_counted_kill_is_for_lack_of_memory() -> None:
    async def run() -> Scene:
        scene = Scene()
        for code, killed in ((-9, 0), (-9, 1), (-9, 1), (-11, 2), (3, 2)):
            await scene.handler.open()
            await scene.handler.open()
            scene.limit.killed = killed
            await scene.dies(code)
        return scene

    scene = asyncio.run(run())
    deaths = [("crash", "SIGKILL"), ("oom", "SIGKILL"), ("crash", "SIGKILL"), ("crash", "SIGSEGV"), ("crash", "exit 3")]
    assert scene.events[::2] == deaths
    assert scene.events[1::2] == [("restart", "ok")] * 4
    assert len(scene.zygote.forked) == 5
    assert scene.limit.released == [{"place": 1}] * 5


@pytest.mark.parametrize(
    ("limited", "kind", "end", "whose"),
    [
        (True, "oom", "its process was killed for lack of memory (SIGKILL)", {"models": "all"}),
        (False, "crash", "its process ended (SIGKILL)", {}),
    ],
)
def test_the_death_of_what_counts_towards_the_limit_is_that_of_all_models(
    limited: bool, kind: str, end: str, whose: dict[str, str]
) -> None:
    async def run() -> Scene:
        scene = Scene()
        if not limited:
            scene.handler._limit = None
        await scene.handler.open()
        scene.limit.killed = 1
        await scene.dies(-9)
        await scene.handler.open()
        return scene

    scene = asyncio.run(run())
    assert scene.events == [(kind, "SIGKILL"), ("restart", "ok")]
    assert scene.details == [
        {"pid": 1, "code": -9, "end": f"universal handler: {end}", **whose},
        {"what": "the universal handler", "pid": 2},
    ]


def test_a_request_that_kills_the_process_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[int, str]:
        scene = Scene()
        child = await scene.handler.open()

        async def die(*_: object) -> Any:
            child.exited.set_result(-11)
            raise WorkerGoneError

        monkeypatch.setattr(child.channel, "request", die)
        with pytest.raises(RefusalError) as refused:
            await asyncio.wait_for(scene.handler.invoke("m", Invocation(body=b"")), 10)
        return refused.value.status, refused.value.message

    assert asyncio.run(run()) == (500, "the universal handler is gone: its process ended (SIGSEGV)")


def test_closing_it_waits_for_the_end_of_its_process_and_is_no_crash() -> None:
    async def run() -> Scene:
        scene = Scene()
        await scene.handler.open()
        closing = asyncio.create_task(scene.handler.close())
        await asyncio.sleep(0)
        assert (scene.zygote.killed, closing.done()) == ([1], False)
        await scene.dies(-9)
        await asyncio.wait_for(closing, 10)
        await scene.handler.close()
        return scene

    scene = asyncio.run(run())
    assert (scene.zygote.killed, scene.events) == ([1], [])


def test_a_process_that_has_died_is_not_killed_again() -> None:
    async def run() -> list[int]:
        scene = Scene()
        await scene.handler.open()
        await scene.dies(3)
        await scene.handler.close()
        return scene.zygote.killed

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    ("opening", "words"),
    [("for ever", "its import took more than 0.01 s and was given up"), ("fails", "SyntaxError")],
)
def test_a_process_whose_code_cannot_be_imported_is_ended_and_is_no_crash(opening: str, words: str) -> None:
    async def run() -> Scene:
        scene = Scene(opening, load_s=0.01)
        with pytest.raises(RefusalError, match=f"the universal handler cannot be loaded: {words}"):
            await asyncio.wait_for(scene.handler.open(), 10)
        await scene.dies(-9)
        return scene

    scene = asyncio.run(run())
    assert (scene.zygote.killed, scene.events) == ([1], [])


# The models that an inference_handler names


def named(emit: Any = lambda *_, **__: None) -> tuple[NamedModels, Zygote]:
    zygote = Zygote()
    config = ServingConfig(named=("a", "b"), inference="code/handler.py")
    return NamedModels(config, zygote, Limit(), emit), zygote


def test_a_name_is_listed_once_and_removed_once() -> None:
    async def run() -> None:
        models, _ = named()
        with pytest.raises(RefusalError, match="model a is already loaded") as present:
            await models.load("a", "/a")
        await models.load("c", "/c")
        await models.unload("b")
        for name in ("b", "d"):
            with pytest.raises(RefusalError, match="is not loaded") as absent:
                await models.unload(name)
            assert absent.value.status == 404
        assert present.value.status == 409
        assert [model.identifier for model in models.ready()] == ["a", "c"]

    asyncio.run(run())


@pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (399, "ok"), (400, "400"), (500, "500")])
def test_the_outcome_of_a_request_is_the_codes_status(
    monkeypatch: pytest.MonkeyPatch, status: int, outcome: str
) -> None:
    ticks = itertools.count(100, 2.5)
    monkeypatch.setattr(named_models, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    async def run() -> None:
        async def reply(*_: object) -> Reply:
            return Reply(body=b"", status=status, worked=(101.0, 102.0))

        events: list[tuple[Any, ...]] = []
        models, _ = named(lambda kind, **fields: events.append((kind, fields)))
        models._handler.invoke = reply  # type: ignore[method-assign,assignment]
        await models.invoke("a", Invocation(body=b""))
        ((kind, fields),) = events
        assert (kind, fields["model"], fields["outcome"]) == ("invoke", "a", outcome)
        assert fields["detail"] == {"queued_s": 1.0, "worked_s": 1.0}
        assert fields["seconds"] == 2.5

    asyncio.run(run())


def test_a_request_that_the_code_does_not_reply_to_is_an_event_too() -> None:
    async def run() -> None:
        async def refuse(*_: object) -> Reply:
            raise RefusalError(500, "it is gone")

        events: list[tuple[Any, ...]] = []
        models, _ = named(lambda kind, **fields: events.append((kind, fields["outcome"], fields["detail"])))
        models._handler.invoke = refuse  # type: ignore[method-assign,assignment]
        with pytest.raises(RefusalError):
            await models.invoke("a", Invocation(body=b""))
        assert events == [("invoke", "500", {"error": "it is gone"})]

    asyncio.run(run())


def test_what_the_models_of_an_inference_handler_use_is_sampled_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_models, "_SAMPLE_EVERY_S", 0)

    async def run() -> None:
        enough, samples = asyncio.Event(), list[Any]()

        def emit(kind: str, *, detail: Any) -> None:
            samples.append((kind, detail))
            if len(samples) >= 2:
                enough.set()

        models, zygote = named(emit)
        monkeypatch.setattr(zygote, "threads", lambda: 5)
        await models.open()
        assert samples == []
        await asyncio.wait_for(enough.wait(), 10)
        assert models._sampling is not None
        ending = asyncio.create_task(models.drain())
        await asyncio.wait([models._sampling])
        zygote.forked[0].exited.set_result(-9)
        await asyncio.wait_for(ending, 10)
        sample = {"used_bytes": 7, "limit_bytes": None, "threads": 5, "resident": 2}
        assert samples[:2] == [("sample", sample)] * 2

    asyncio.run(run())


def test_there_is_no_rest_api_past_an_inference_handler() -> None:
    async def run() -> None:
        models, _ = named()
        with pytest.raises(RefusalError, match="there is no TensorFlow Serving API for a") as refused:
            await models.rest("a", {}, b"")
        assert refused.value.status == 501

    asyncio.run(run())


def test_the_end_of_the_server_ends_the_process_of_an_inference_handler() -> None:
    async def run() -> list[int]:
        models, zygote = named()
        await models.open()
        ending = asyncio.create_task(models.drain())
        await asyncio.sleep(0)
        zygote.forked[0].exited.set_result(-9)
        await asyncio.wait_for(ending, 10)
        return zygote.killed

    assert asyncio.run(run()) == [1]
