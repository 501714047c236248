"""Hard use: requests by the thousand while models are loaded, unloaded and killed. Nothing wrong, stuck or left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_mme import Model, Models, Run, Server, Settings
from pytest_mme.archives.archive import extract
from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import NoAnswerError, NotReadyError
from pytest_mme.serving.memory.enforcement import MIB
from pytest_mme.serving.memory.private_memory import private_bytes
from pytest_mme.waiting import wait_for
from tests.local.conftest import process_of
from tests.processes import survivors
from tests.stress.asking import ASK_OR_RAISE
from tests.stress.family import Family
from tests.stress.figures import RecordProperty, show

INVOKES = 20_000
WARM_UP = 2_000
CALLERS = 32
DISTURBERS = 2
INVOKES_PER_DISTURBANCE = 100
TIMEOUT_S = 30.0
SETTLE_S = 20.0

ALLOWED = {
    "invoke": {200, 404, 500},  # 500: killed while it was asked
    "load": {200, 409, 500},  # 500: killed while it was loading
    "unload": {200, 404},
    "list": {200},
    "kill": {0},
}
GROWTH_MIB = 16
"""How much more memory the front and the zygote may hold at the end than after the warm-up."""
OWN_THREADS = 3
"""Of the front: the event loop's, the one that writes events and, before Python 3.12, asyncio's that waits for the zygote."""
UNHEARD = ("never retrieved", "never awaited", "Error handling request", "destroyed but it is pending", "Unclosed")
"""What asyncio and aiohttp log of an error that nobody has handled."""


class Use:
    """What was seen while a server was used: one for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.statuses: dict[str, Counter[int]] = {call: Counter() for call in ALLOWED}
        self.seconds_at_most = dict.fromkeys(ALLOWED, 0.0)
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stuck: list[str] = []

    def saw(self, call: str, status: int, seconds: float = 0.0) -> None:
        with self._lock:
            self.statuses[call][status] += 1
            self.seconds_at_most[call] = max(self.seconds_at_most[call], seconds)

    def saw_answer(self, model: Model, x: float, got: Any) -> None:
        with self._lock:
            self.answered[model.name] += 1
            if got != {"predictions": [model.answer([x])]}:
                self.wrong.append(f"{model.name} was asked for {x} and answered {got}")

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A request that gets no answer is noted, and the next one goes on."""
        try:
            yield
        except NoAnswerError as error:
            with self._lock:
                self.stuck.append(f"{what}: {error}")

    def check(self, invokes: int, models: Sequence[Model]) -> None:
        """Nothing wrong, nothing stuck, only what the contract allows, and enough of everything to judge."""
        assert self.wrong == []
        assert self.stuck == []
        assert {call: set(statuses) - ALLOWED[call] for call, statuses in self.statuses.items()} == {
            call: set() for call in ALLOWED
        }
        assert sum(self.statuses["invoke"].values()) == invokes
        assert self.statuses["invoke"][200] >= invokes / 2
        assert set(self.answered) == {model.name for model in models}
        assert self.statuses["unload"][200]
        assert self.statuses["kill"][0]


class HardUse:
    """Callers who invoke the models, and disturbers who take them away and bring them back, one for so many invokes."""

    def __init__(self, server: Server, models: Sequence[Model], invokes: int) -> None:
        self.use, self._models, self._invokes = Use(), models, invokes
        self._family = Family.of(server)
        self._urls = {model.name: server.running.place(server.running.models / model.name) for model in models}
        self._client = ContractClient(server.client.url, connections=CALLERS + DISTURBERS)
        self._due, self._over = threading.Semaphore(0), threading.Event()

    def run(self) -> float:
        """Load everything, do it all, unload everything; the seconds that it took to make the invokes."""
        with contextlib.closing(self._client), ThreadPoolExecutor(CALLERS + DISTURBERS) as threads:
            list(threads.map(self._load, self._urls))
            start = time.monotonic()
            disturbed = [threads.submit(self._disturb, random.Random(seed)) for seed in range(DISTURBERS)]
            called = [threads.submit(self._call, random.Random(-seed), seed) for seed in range(CALLERS)]
            try:
                for call in called:
                    call.result()
            finally:
                took_s = time.monotonic() - start
                self._over.set()
                self._due.release(DISTURBERS)
            for disturbance in disturbed:
                disturbance.result()
            list(threads.map(self._unload, self._urls))
        return took_s

    def _call(self, chance: random.Random, first: int) -> None:
        """Invoke: no two requests are alike, so that no two answers are."""
        for number in range(first, self._invokes, CALLERS):
            self._invoke(chance.choice(self._models), float(number))
            if number % INVOKES_PER_DISTURBANCE == 0:
                self._due.release()

    def _invoke(self, model: Model, x: float) -> None:
        body = json.dumps({"instances": [[x]]}).encode()
        with self.use.waiting(f"invoke {x} of {model.name}"):
            reply = self._client.invoke(model.name, body, timeout_s=TIMEOUT_S)
            self.use.saw("invoke", reply.status, reply.seconds)
            if reply.ok:
                self.use.saw_answer(model, x, reply.json())

    def _disturb(self, chance: random.Random) -> None:
        """Take a model away; bring back what is not there, the one that was killed last time among it."""
        while self._due.acquire() and not self._over.is_set():
            if chance.random() < 0.5:
                self._unload(chance.choice(self._models).name)
            else:
                self._kill(chance)
            for identifier in set(self._urls) - self._listed():
                self._load(identifier)

    def _kill(self, chance: random.Random) -> None:
        """A worker or a handler, ready or not."""
        if workers := self._family.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
                self.use.saw("kill", 0)

    def _listed(self) -> set[str]:
        reply = self._client.list()
        self.use.saw("list", reply.status, reply.seconds)
        return {one["modelName"] for one in reply.json()["models"]}

    def _load(self, identifier: str) -> None:
        with self.use.waiting(f"load of {identifier}"):
            reply = self._client.load(identifier, self._urls[identifier], timeout_s=TIMEOUT_S)
            self.use.saw("load", reply.status, reply.seconds)

    def _unload(self, identifier: str) -> None:
        with self.use.waiting(f"unload of {identifier}"):
            reply = self._client.unload(identifier, timeout_s=TIMEOUT_S)
            self.use.saw("unload", reply.status, reply.seconds)


@dataclasses.dataclass(frozen=True)
class Held:
    """What a server without models holds of the system."""

    models: int
    workers: int
    connections: int
    """Of clients, to the front."""
    front_descriptors: int
    front_sockets: int
    zygote_descriptors: int
    zygote_sockets: int
    zygote_threads: int
    files: frozenset[Path]
    in_cgroup: frozenset[str]

    @classmethod
    def by(cls, server: Server, folder: Path) -> Held:
        """Its files are all that is in *folder*, temporary ones among them."""
        family = Family.of(server)
        return cls(
            models=len(server.list()),
            workers=len(family.workers()),
            connections=sum(bool(connection.raddr) for connection in family.front.net_connections("tcp")),
            front_descriptors=family.front.num_fds(),
            front_sockets=_sockets(family.front),
            zygote_descriptors=family.zygote.num_fds(),
            zygote_sockets=_sockets(family.zygote),
            zygote_threads=family.zygote.num_threads(),
            files=frozenset(folder.rglob("*")),
            in_cgroup=_in_cgroup(server.running.facts["cgroup"]),
        )

    def difference(self, other: Held) -> dict[str, tuple[object, object]]:
        """The fields that differ."""
        fields = [field.name for field in dataclasses.fields(self)]
        both = {name: (getattr(self, name), getattr(other, name)) for name in fields}
        return {name: (mine, its) for name, (mine, its) in both.items() if mine != its}


def _sockets(process: psutil.Process) -> int:
    return sum(str(link.readlink()).startswith("socket:") for link in Path(f"/proc/{process.pid}/fd").iterdir())


def _in_cgroup(directory: str | None) -> frozenset[str]:
    """The processes in the server's cgroup, and the cgroups below it."""
    if directory is None:
        return frozenset()
    below = {path.name for path in Path(directory).iterdir() if path.is_dir()}
    return frozenset(below | set(Path(directory, "cgroup.procs").read_text().split()))


def held_when_idle(server: Server, folder: Path) -> Held:
    """What is held once all callers have hung up and only `server` itself is connected."""

    def idle() -> Held | None:
        held = Held.by(server, folder)
        return held if (held.connections, held.workers) == (1, 0) else None

    return wait_for(idle, what="an idle server", timeout_s=SETTLE_S)


def check_held_again(before: Held, server: Server, folder: Path) -> None:
    """Fail unless the server comes to hold what it held *before*, no more and no less."""
    seen = [before]

    def again() -> bool | None:
        seen.append(Held.by(server, folder))
        return seen[-1] == before or None

    with contextlib.suppress(NotReadyError):
        wait_for(again, what="what was held before", timeout_s=SETTLE_S)
    assert before.difference(seen[-1]) == {}, "held before, and now"


def private_mib(server: Server) -> dict[str, float]:
    """What the front and the zygote have written and share with nobody."""
    family = Family.of(server)
    processes = {"front": family.front, "zygote": family.zygote}
    return {name: round(private_bytes(process.pid) / MIB, 1) for name, process in processes.items()}


@pytest.fixture
def server(tmp_path: Path, mme_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose temporary files are seen, and whose thousands of events are in nobody's report."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Run(mme_settings, directory=tmp_path) as run, run.server() as server:
        family = Family.of(server)
        yield server
    assert survivors([family.front, family.zygote]) == []


def test_thousands_of_requests_while_models_come_and_go(
    server: Server, mme_models: Models, tmp_path: Path, record_property: RecordProperty
) -> None:
    models = [*mme_models.fleet(14), *mme_models.fleet(2, "handled", handler=ASK_OR_RAISE)]
    for model in models:
        extract(model.archive, server.running.models / model.name)
    HardUse(server, models, WARM_UP).run()
    before, before_mib = held_when_idle(server, tmp_path), private_mib(server)
    hard = HardUse(server, models, INVOKES)
    took_s = hard.run()
    check_held_again(before, server, tmp_path)
    after_mib, threads = private_mib(server), process_of(server).num_threads()
    show(
        record_property,
        invokes_per_second=round(INVOKES / took_s),
        **{f"{call}_statuses": dict(sorted(statuses.items())) for call, statuses in hard.use.statuses.items()},
        seconds_at_most={call: round(seconds, 2) for call, seconds in hard.use.seconds_at_most.items()},
        front_descriptors=before.front_descriptors,
        zygote_descriptors=before.zygote_descriptors,
        private_mib_before=before_mib,
        private_mib_after=after_mib,
        front_threads=threads,
    )
    hard.use.check(INVOKES, models)
    assert {name: grown for name in before_mib if (grown := after_mib[name] - before_mib[name]) > GROWTH_MIB} == {}
    assert threads <= OWN_THREADS + min(32, (os.cpu_count() or 1) + 4)  # asyncio.to_thread's own limit
    assert [line for line in server.log.splitlines() if any(words in line for words in UNHEARD)] == []
