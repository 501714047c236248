"""Moments that a real server cannot be made to meet reliably, with fake workers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.budget import Budget, Claim
from pytest_mme.serving.memory.enforcement import MIB, Enforcement
from pytest_mme.serving.processes.channel import Head, WorkerGoneError
from pytest_mme.serving.processes.child_config import ChildKind
from pytest_mme.serving.processes.zygote_client import ChildProcess, End, ZygoteClient, ZygoteGoneError
from pytest_mme.serving.table import model_table
from pytest_mme.serving.table.loaded_model import Invocation, LoadedModel, RefusalError, Reply, Span, State, at_work
from pytest_mme.serving.table.loader import _check_path
from pytest_mme.serving.table.model_table import ModelTable
from tests.users import nobody


class FakeChannel:
    """Replies as a worker whose load succeeds, unless the test has another reply, and when the test lets it."""

    def __init__(self, zygote: FakeZygote) -> None:
        self._zygote, self._gone = zygote, asyncio.Event()

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        if gate := self._zygote.gates.get(head["operation"] if body == b"" else body):
            self._zygote.somebody_waits.set()
            waits = [asyncio.ensure_future(event.wait()) for event in (gate, self._gone)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
        if self._gone.is_set():
            raise WorkerGoneError
        usual = {"bytes": 1, "fingerprint": "f", "version": 1, "signatures": [], "worked": (0.0, 1.0)}
        return self._zygote.replies.get(head["operation"], usual), body

    def close(self) -> None:
        self._gone.set()


class FakeZygote(ZygoteClient):
    """Forks no process; a child that is killed has exited at once."""

    def __init__(self) -> None:
        super().__init__()
        self.forked: list[ChildProcess] = []
        self.replies: dict[str, Head] = {}
        """Other replies than those of a worker whose load succeeds, by operation."""
        self.gates: dict[str | bytes, asyncio.Event] = {}
        """What a request waits for: by its operation, or by its body."""
        self.somebody_waits = asyncio.Event()

    async def fork(self, kind: ChildKind, reserved: Head, *, limited: bool = True, **settings: Any) -> ChildProcess:
        channel: Any = FakeChannel(self)
        exited = asyncio.get_running_loop().create_future()
        self.forked.append(ChildProcess(len(self.forked) + 1, channel, exited, kind, reserved))
        return self.forked[-1]

    def kill(self, pid: int) -> None:
        self.forked[pid - 1].exited.set_result(-9)

    def threads(self) -> int:
        return 5


class FakeLimit(Enforcement):
    """Counts the kills that the test sets."""

    name = "fake"
    cheap_to_measure = False
    limit_bytes: int | None = None

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

    def __init__(self, **config: Any) -> None:
        self.zygote, self.limit = FakeZygote(), FakeLimit()
        settings = ServingConfig(**config)
        self.budget = FakeBudget(settings, self.limit)
        self.events: list[tuple[str, Any]] = []
        self.details: list[Any] = []
        self.seconds: list[float | None] = []
        self.reaped = threading.Event()
        self.budget.on_release = self.reaped.set
        self.table = ModelTable(settings, self.zygote, self.budget, self._emit)

    def _emit(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields.get("outcome")))
        self.details.append(fields.get("detail"))
        self.seconds.append(fields.get("seconds"))

    def invoked(self, body: bytes) -> asyncio.Task[Reply]:
        """A request to the model m, under way; whose body has a gate waits there."""
        return asyncio.create_task(self.table.invoke("m", Invocation(body=body)))

    async def refusal(self, call: Coroutine[Any, Any, object]) -> tuple[int, str]:
        with pytest.raises(RefusalError) as refused:
            await call
        return refused.value.status, refused.value.message

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


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


# Requests


def test_a_model_that_is_being_loaded_takes_no_requests_and_an_unload_waits_for_it() -> None:
    async def run() -> None:
        scene = Scene()
        scene.zygote.gates["load"] = gate = asyncio.Event()
        load = asyncio.create_task(scene.table.load("m", "/m"))
        await settle()
        assert await scene.refusal(scene.table.invoke("m", Invocation(body=b""))) == (404, "model m is not loaded")
        unload = asyncio.create_task(scene.table.unload("m"))
        await settle()
        assert not unload.done()
        gate.set()
        await asyncio.wait_for(asyncio.gather(load, unload), 10)
        assert scene.table.ready() == []
        assert scene.events[-2:] == [("load", "ok"), ("unload", "ok")]

    asyncio.run(run())


def test_an_unload_waits_for_the_last_request() -> None:
    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        gates: dict[str | bytes, asyncio.Event] = {
            body: asyncio.Event() for body in (b"first", b"second", b"past the code")
        }
        scene.zygote.gates |= gates
        rest = asyncio.create_task(scene.table.rest("m", {"operation": "invoke"}, b"past the code"))
        requests = [scene.invoked(b"first"), scene.invoked(b"second")]
        await settle()
        unload = asyncio.create_task(scene.table.unload("m"))
        for gate in gates.values():
            await settle()
            assert not unload.done()
            gate.set()
        await asyncio.wait_for(unload, 10)
        assert [(await one).body for one in requests] == [b"first", b"second"]
        assert await rest == b"past the code"
        assert scene.events[-1] == ("unload", "ok")

    asyncio.run(run())


def test_an_unload_cuts_off_what_takes_longer_than_the_drain() -> None:
    async def run() -> None:
        scene = Scene(drain_s=0.01)
        await scene.table.load("m", "/m")
        scene.zygote.gates[b"late"] = asyncio.Event()
        late = scene.invoked(b"late")
        await settle()
        await scene.table.unload("m")
        assert ("unload", "cut off") in scene.events
        with pytest.raises(RefusalError, match="model m is gone"):
            await asyncio.wait_for(late, 10)

    asyncio.run(run())


@pytest.mark.parametrize("grace_s", [0, -1])
def test_an_idle_model_is_not_cut_off_however_little_time_is_left(grace_s: float) -> None:
    async def run() -> None:
        scene = Scene(drain_s=0, grace_s=grace_s)
        await scene.table.load("a", "/a")
        await scene.table.load("b", "/b")
        await scene.table.unload("a")
        await scene.table.drain()
        assert scene.events[-2:] == [("unload", "ok")] * 2

    asyncio.run(run())


@pytest.mark.parametrize(("in_flight", "served"), [(True, True), (False, False)])
def test_a_model_that_is_unloaded_serves_only_the_code_that_is_at_work(in_flight: bool, served: bool) -> None:
    async def run() -> None:
        scene = Scene()
        model = await scene.table.load("m", "/m")
        model.state = State.UNLOADING
        if in_flight:
            model.idle.clear()
        rest = scene.table.rest("m", {"operation": "invoke"}, b"x")
        if served:
            assert await rest == b"x"
        else:
            assert await scene.refusal(rest) == (404, "Could not find any versions of model m")

    asyncio.run(run())


@pytest.mark.parametrize(("status", "outcome"), [(399, "ok"), (400, "400"), (500, "500")])
def test_the_event_of_a_request_has_the_beginning_of_its_error(
    monkeypatch: pytest.MonkeyPatch, status: int, outcome: str
) -> None:
    async def run() -> None:
        async def reply(*_: object) -> Reply:
            return Reply(body=b"x" * 2000, status=status)

        async def refuse(*_: object) -> Reply:
            raise RefusalError(status, "y" * 2000)

        scene = Scene()
        await scene.table.load("m", "/m")
        for invoke, expected, letter in ((reply, outcome, "x"), (refuse, str(status), "y")):
            monkeypatch.setattr(scene.table, "_invoke", invoke)
            await asyncio.wait([scene.invoked(b"")])
            assert scene.events[-1] == ("invoke", expected)
            assert scene.details[-1] == ({} if expected == "ok" else {"error": letter * 1000})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("worked", "at_work_"),
    [(None, {}), ((7.0, 9.5), {"queued_s": 2.0, "worked_s": 2.5}), ((4.0, 5.0), {"queued_s": 0.0, "worked_s": 1.0})],
)
def test_a_request_is_queued_until_its_model_works_on_it(worked: Span | None, at_work_: dict[str, float]) -> None:
    assert at_work(worked, 5.0) == at_work_


def test_the_event_of_a_request_has_what_the_platform_called_it_and_how_long_it_took() -> None:
    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        await scene.table.invoke("m", Invocation(body=b"x", request_id="r", target="m.tar.gz"))
        scene.zygote.replies["invoke"] = {"error": "why", "code": "INVALID_ARGUMENT", "worked": (0.0, 2.5)}
        refused = await scene.refusal(scene.table.invoke("m", Invocation(body=b"x")))
        assert refused == (400, "why")
        assert scene.details[1:] == [
            {"request": "r", "target": "m.tar.gz", "queued_s": 0.0, "worked_s": 1.0},
            {"error": "why", "queued_s": 0.0, "worked_s": 2.5},
        ]

    asyncio.run(run())


def test_the_events_of_calls_have_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(100, 2.5)
    monkeypatch.setattr(model_table, "time", SimpleNamespace(monotonic=lambda: next(ticks)))

    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        await scene.table.invoke("m", Invocation(body=b"x"))
        await scene.table.unload("m")
        assert scene.seconds == [2.5, 2.5, 5.0]  # between the ends of an unload the clock is read for its deadline

    asyncio.run(run())


def test_the_event_of_a_load_has_what_it_took() -> None:
    async def run() -> None:
        scene = Scene()
        scene.zygote.replies["estimate"] = {"bytes": 3, "fingerprint": "f"}
        scene.zygote.replies["load"] = {"version": 1}
        await scene.table.load("m", "/m")
        scene.zygote.replies["load"] = {"error": "why", "code": "DATA_LOSS"}
        await scene.refusal(scene.table.load("n", "/n"))
        assert scene.details == [
            {"url": "/m", "pid": 1, "bytes": 0, "estimated_bytes": 3, "fingerprint": "f", "version": 1},
            {"url": "/n", "error": "n cannot be loaded: DATA_LOSS: why"},
        ]
        scene.dies(0, -11)
        await settle()
        assert scene.details[2:] == [
            {"pid": 1, "code": -11, "while": "loaded", "end": "its worker ended (SIGSEGV)"},
        ]

    asyncio.run(run())


def test_each_load_and_unload_is_followed_by_a_sample() -> None:
    async def run() -> None:
        scene = Scene()
        scene.limit.cheap_to_measure = True
        await scene.table.load("m", "/m")
        await asyncio.gather(*scene.table._tasks)
        await scene.table.load("n", "/n")
        await scene.table.unload("m")
        await scene.table.drain()  # which waits for the samples that are under way
        kinds = [kind for kind, _ in scene.events]
        assert kinds.count("sample") == 4
        assert scene.details[kinds.index("sample")] == {
            "used_bytes": 0,
            "limit_bytes": None,
            "threads": 5,
            "resident": 1,
        }

    asyncio.run(run())


# Deaths


def test_a_request_to_a_model_that_died_is_told_how_until_it_is_loaded_again() -> None:
    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        scene.dies(0, -11)
        await settle()
        ask = Invocation(body=b"")
        assert await scene.refusal(scene.table.invoke("m", ask)) == (
            404,
            "model m is not loaded: its worker ended (SIGSEGV)",
        )
        await scene.table.load("m", "/m")
        await scene.table.unload("m")
        assert await scene.refusal(scene.table.invoke("m", ask)) == (404, "model m is not loaded")

    asyncio.run(run())


def test_the_deaths_of_so_many_models_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_table, "_MAX_ENDS", 2)

    async def run() -> None:
        scene = Scene()
        for number, name in enumerate("abc"):
            await scene.table.load(name, f"/{name}")
            scene.dies(number, -11)
            await settle()
        assert list(scene.table._ends) == ["b", "c"]

    asyncio.run(run())


def test_a_model_of_two_processes_stays_in_the_table_until_both_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        scene = Scene()
        worker, handler = await scene.zygote.fork("worker", {}), await scene.zygote.fork("handler", {})
        model = LoadedModel("m", "/m", State.READY, children=[worker, handler])
        scene.table._models["m"] = model
        monkeypatch.setattr(scene.zygote, "kill", lambda _: None)
        worker.reaped.set()
        scene.table._on_death(model, worker, End("worker", -11, False))
        await settle()
        assert (scene.table._models, model.state) == ({"m": model}, State.UNLOADING)
        assert len(scene.table._tasks) == 1
        again = asyncio.create_task(scene.table.load("m", "/m"))
        scene.table._on_death(model, worker, End("worker", -11, False))  # its unload is under way already
        await settle()
        assert len(scene.table._tasks) == 1
        assert not again.done()
        handler.reaped.set()
        loaded = await asyncio.wait_for(again, 10)
        assert scene.table._models == {"m": loaded}
        scene.table._remove(model)  # once more does the new one no harm
        assert scene.table._models == {"m": loaded}

    asyncio.run(run())


# The end


def test_a_table_that_has_ended_takes_nothing_new() -> None:
    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        await scene.table.drain()
        for call in (scene.table.load("n", "/n"), scene.table.invoke("m", Invocation(body=b""))):
            assert await scene.refusal(call) == (503, "the server is ending")
        assert scene.events[-1] == ("unload", "ok")

    asyncio.run(run())


@pytest.mark.parametrize("unloading", [False, True])
def test_the_end_waits_for_requests_and_loads_that_are_under_way(unloading: bool) -> None:
    async def run() -> None:
        scene = Scene()
        await scene.table.load("m", "/m")
        scene.zygote.gates |= {b"asked": asyncio.Event(), "load": asyncio.Event()}
        asked, load = scene.invoked(b"asked"), asyncio.create_task(scene.table.load("n", "/n"))
        await settle()
        if unloading:
            asyncio.get_running_loop().call_soon(lambda: scene.table._in_background(scene.table.unload("m")))
            await settle()
        end = asyncio.create_task(scene.table.drain())
        for gate in ("load", b"asked"):
            await settle()
            assert not end.done()
            scene.zygote.gates[gate].set()
        await asyncio.wait_for(end, 10)
        assert (await asked).body == b"asked"
        assert (await load).identifier == "n"
        assert scene.table._models == {}
        assert [outcome for kind, outcome in scene.events if kind == "unload"] == ["ok", "ok"]

    asyncio.run(run())


def test_the_end_does_not_wait_for_a_load_longer_than_the_grace() -> None:
    async def run() -> None:
        scene = Scene(grace_s=0.01)
        scene.zygote.gates["load"] = asyncio.Event()
        load = asyncio.create_task(scene.table.load("m", "/m"))
        await settle()
        await asyncio.wait_for(scene.table.drain(), 10)
        with pytest.raises(RefusalError, match="m cannot be loaded"):
            await asyncio.wait_for(load, 10)
        assert [child.exited.done() for child in scene.zygote.forked] == [True]

    asyncio.run(run())


def test_the_end_gives_requests_what_is_left_of_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_table, "time", SimpleNamespace(monotonic=lambda: 100.0))

    async def run() -> None:
        scene = Scene(grace_s=7)
        await scene.table.load("m", "/m")
        given: list[float] = []

        async def unload(_: LoadedModel, deadline_s: float) -> None:
            given.append(deadline_s)
            scene.table._models.clear()

        monkeypatch.setattr(scene.table, "_unload", unload)
        await asyncio.wait_for(scene.table.drain(), 10)
        assert given == [107]

    asyncio.run(run())


# Loads that fail


@pytest.mark.parametrize(
    ("code", "status", "words", "learnt"),
    [
        ("RESOURCE_EXHAUSTED", 507, "RESOURCE_EXHAUSTED: why", {"f": 100 * MIB + 1}),
        ("NO_ARCHIVE", 404, "why", {}),
        ("USER_CODE", 500, "why", {}),
        ("DATA_LOSS", 500, "DATA_LOSS: why", {}),
    ],
)
def test_a_refused_load_has_its_status_and_words_and_memory_that_ran_out_is_remembered(
    code: str, status: int, words: str, learnt: dict[str, int]
) -> None:
    async def run() -> None:
        scene = Scene()
        scene.limit.limit_bytes = 100 * MIB
        scene.zygote.replies["load"] = {"error": "why", "code": code}
        assert await scene.refusal(scene.table.load("m", "/m")) == (status, f"m cannot be loaded: {words}")
        assert scene.budget._learnt == learnt
        assert scene.table._models == {}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("admission", "killed", "status"), [("estimate", 1, 507), ("none", 1, 500), ("estimate", 0, 500)]
)
def test_a_load_that_is_killed_for_lack_of_memory_is_507_where_memory_is_managed(
    admission: str, killed: int, status: int
) -> None:
    async def run() -> None:
        scene = Scene(admission=admission)
        scene.zygote.gates["load"] = asyncio.Event()
        load = asyncio.create_task(scene.table.load("m", "/m"))
        await asyncio.wait_for(scene.zygote.somebody_waits.wait(), 10)
        scene.limit.killed = killed
        scene.dies(0, -9)
        with pytest.raises(RefusalError) as refused:
            await asyncio.wait_for(load, 10)
        assert refused.value.status == status

    asyncio.run(run())


def test_a_load_that_takes_too_long_is_given_up() -> None:
    async def run() -> None:
        scene = Scene(load_s=0.01)
        scene.zygote.gates["load"] = asyncio.Event()
        refused = await asyncio.wait_for(scene.refusal(scene.table.load("m", "/m")), 10)
        assert refused == (500, "the load took more than 0.01 s and was given up")
        assert [child.exited.done() for child in scene.zygote.forked] == [True]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("style", "holder", "left", "claimed"), [("handler", 1, [False, False], {1, 2}), ("toolkit", 2, [True, False], {2})]
)
def test_a_model_with_code_is_held_by_its_worker_or_by_its_code(
    tmp_path: Path, style: str, holder: int, left: list[bool], claimed: set[int]
) -> None:
    async def run() -> None:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "inference.py").touch()
        scene = Scene()
        scene.zygote.replies["open"] = {"style": style}
        await scene.table.load("m", str(tmp_path))
        (detail,) = scene.details
        assert (detail["pid"], detail["handler_pid"], detail["handler"]) == (holder, 2, style)
        assert [child.exited.done() for child in scene.zygote.forked] == left
        assert set(scene.budget._claims) == claimed
        assert scene.events == [("load", "ok")]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("style", "kinds", "left"),
    [
        ("handler", ["handler", "worker"], [False, False]),
        ("toolkit", ["handler", "worker", "handler"], [True, True, False]),
    ],
)
def test_code_for_all_models_is_one_process_or_one_for_each_and_ends_with_the_table(
    tmp_path: Path, style: str, kinds: list[str], left: list[bool]
) -> None:
    async def run() -> None:
        (tmp_path / "inference.py").touch()
        scene = Scene(code=str(tmp_path))
        scene.zygote.replies["open"] = {"style": style}
        await scene.table.open()
        await scene.table.load("m", "/m")
        assert [child.kind for child in scene.zygote.forked] == kinds
        assert [child.exited.done() for child in scene.zygote.forked] == left
        await asyncio.wait_for(scene.table.drain(), 10)
        assert [child.exited.done() for child in scene.zygote.forked] == [True] * len(kinds)
        assert [kind for kind, _ in scene.events] == ["load", "unload"]

    asyncio.run(run())


def test_a_path_that_cannot_be_looked_at_is_404(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    for url, why in ((f"{tmp_path}/\0", "embedded null byte"), (f"{tmp_path}/closed/model", "Permission denied")):
        with nobody(), pytest.raises(RefusalError, match=f"cannot be read: {why}") as refused:
            _check_path(url)
        assert refused.value.status == 404
    with pytest.raises(RefusalError, match="give the folder's whole path") as relative:
        _check_path("model")
    assert relative.value.status == 400
