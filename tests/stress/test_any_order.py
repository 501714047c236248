"""Any order of any calls, some at the same time, on one real server, against a model of the contract."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import psutil
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pytest_mme import Model, Models, Run, Server, Settings
from pytest_mme.archives.archive import extract
from pytest_mme.contract.client import Reply
from pytest_mme.report.sections import line
from pytest_mme.waiting import wait_for
from tests.stress.asking import ASK_OR_RAISE
from tests.stress.contract_model import Archive, Call, Contract, Get, Invoke, Kill, ListAll, Load, Made, Outcome, Unload
from tests.stress.family import Family
from tests.stress.figures import RecordProperty, show

EXPLORE = os.environ.get("MME_EXPLORE")
"""How many examples to try, each time others; unset: always the same few (CONTRIBUTING.md)."""
HOW_MUCH = settings(
    max_examples=int(EXPLORE or 15),
    stateful_step_count=20,
    derandomize=EXPLORE is None,
    phases=[Phase.generate],  # to shrink takes minutes, and what happened once at the same time may not happen again
    report_multiple_bugs=False,
    database=None,
    deadline=None,
)
JUDGED = {"Load 200", "Load 404", "Load 409", "Load 500", "Load 507", "Unload 200", "Unload 404", "Kill 0"}
"""What must have been answered at least once."""
EVENTS_SHOWN = 200

MEMORY_MIB = 424
UNIT_MIB = 128
ROOM = 2
"""A worker claims 16 MiB, or up to 40 with a handler, and 1.05 times its weights. So two units and two handlers need
up to 397 MiB, three units at least 435."""

IDENTIFIERS = ("1f", "2e", "3d", "4c")
ARCHIVES = (
    Archive("tiny-0"),
    Archive("slow"),
    Archive("handled", processes=2),
    Archive("large", units=1),
    Archive("huge", units=2),
    Archive("broken", refused=500),
    Archive("missing", refused=404),
)
HOSTILE = (
    *("", ".", "..", "../1f", "1f/..", "/", "/etc/passwd", "1f/invoke", "%2e%2e", "1f?x=1", "1f#", "1f;"),
    *("-", "_1f", ".1f", " 1f", "1f ", "1f\n", "1f\0", "ä", "\uff11f", "\u202e1f", "{identifier}", "'\"<>&"),
    *("x" * 256, "x" * 4000),
)
NO_IDENTIFIERS: tuple[Any, ...] = (None, 1, True, 1.5, [], ["1f"], {}, {"1f": "1f"})
NO_FOLDERS: tuple[Any, ...] = (
    *("", ".", "..", "/", "/dev/null", "/dev/zero", "/proc", "/proc/self", "file:///tmp", "~", "1f", "\0", "/tmp\0/1f"),
    *("/" + "x" * 300, "/x" * 5000, "/\udcff".encode(errors="surrogatepass").decode("latin-1"), None, 7, [], {}),
)
TIMEOUT_S = 30.0


class World:
    """One real server for all examples, and the folders of the archives."""

    def __init__(
        self, start: Callable[[], contextlib.AbstractContextManager[Server]], models: Mapping[str, Model]
    ) -> None:
        self._start, self.models = start, models
        self.numbers = itertools.count(1)
        self.seen: Counter[str] = Counter()
        self._undo = contextlib.ExitStack()
        self.pool = ThreadPoolExecutor(8)
        self.restart()

    def restart(self) -> None:
        """A server that has seen nothing."""
        self._undo.close()
        self.server = self._undo.enter_context(self._start())
        self.family = Family.of(self.server)
        self.urls = {archive: str(self.server.running.models / archive.name) for archive in ARCHIVES}
        for archive in ARCHIVES:
            if archive.name in self.models:
                extract(self.models[archive.name].archive, Path(self.urls[archive]))
            elif archive.name == "broken":
                version = Path(self.urls[archive], "1")
                version.mkdir(parents=True)
                (version / "saved_model.pb").write_bytes(b"garbage" * 100)

    def close(self) -> None:
        """End the server."""
        self.pool.shutdown()
        self._undo.close()

    def listed(self) -> dict[str, str]:
        """`GET /models`, as it is now: the folder of each id."""
        return {one["modelName"]: one["modelUrl"] for one in self.server.list()}

    def empty(self) -> bool:
        """Unload everything; whether nothing is left then."""
        for identifier in self.listed():
            self.server.client.unload(identifier, timeout_s=TIMEOUT_S)
        return not self.listed() and not self.family.workers()

    def make(self, call: Call, victims: Sequence[psutil.Process] = ()) -> Outcome:
        """Make *call*; of a `Kill`, its *victims* are known by then."""
        client = self.server.client
        match call:
            case Load(identifier, archive):
                return _refused_in_words(client.load(identifier, self.urls[archive], timeout_s=TIMEOUT_S))
            case Unload(identifier):
                return _refused_in_words(client.unload(quote(identifier, safe=""), timeout_s=TIMEOUT_S))
            case Get(identifier):
                return _refused_in_words(client.get(quote(identifier, safe="")))
            case ListAll():
                return 200, frozenset(self.listed())
            case Invoke(identifier, x):
                return self._invoke(identifier, x)
            case Kill(_, which) if victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victims[which % len(victims)].kill()
        return 0

    def _invoke(self, identifier: str, x: float) -> Outcome:
        body = json.dumps({"instances": [[x]]}).encode()
        reply = self.server.client.invoke(quote(identifier, safe=""), body, timeout_s=TIMEOUT_S)
        return (200, self._who_answered(reply, x)) if reply.ok else _refused_in_words(reply)

    def _who_answered(self, reply: Reply, x: float) -> str:
        """The archive whose known answer this is."""
        (prediction,) = reply.json()["predictions"]
        (name,) = [name for name, model in self.models.items() if model.answer([x]) == prediction] or [reply.text]
        return name

    def processes_of(self, identifier: str) -> list[psutil.Process]:
        """What holds the model last loaded under that id."""
        loads = [event for event in self.server.timeline if event.kind == "load" and event.model == identifier]
        last = [event for event in loads if event.outcome == "ok"][-1]
        pids = [last.detail[name] for name in ("pid", "handler_pid") if name in last.detail]
        return [worker for worker in self.family.workers() if worker.pid in pids]


def _refused_in_words(reply: Reply) -> int:
    """The status; whatever is refused says why, in the one form that there is."""
    assert reply.ok or reply.json()["error"], reply
    return reply.status


identifiers = st.sampled_from(IDENTIFIERS)
archives = st.sampled_from(ARCHIVES)
numbers = st.integers(-8, 8).map(float)
loads = st.builds(Load, identifiers, archives)
squeezes = st.builds(Load, identifiers, st.sampled_from([archive for archive in ARCHIVES if archive.units]))
unloads = st.builds(Unload, identifiers)
invokes = st.builds(Invoke, identifiers, numbers)
kills = st.builds(Kill, identifiers, st.integers(0, 1))
calls = st.one_of(loads, loads, unloads, invokes, invokes, kills, st.builds(Get, identifiers), st.builds(ListAll))


on_one_model = st.lists(st.one_of(loads, unloads, invokes, invokes), min_size=2, max_size=6)


class AnyOrder(RuleBasedStateMachine):
    """What is drawn never depends on what was answered: of calls at the same time, now one is first and now another."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.contract = Contract(ROOM)
        if not self.world.empty():  # an example before this one has failed
            self.world.restart()

    def teardown(self) -> None:
        self.world.empty()

    @rule(call=loads)
    def load(self, call: Load) -> None:
        self.at_once([call])

    @rule(call=squeezes)
    def squeeze(self, call: Load) -> None:
        self.at_once([call])

    @rule(call=unloads)
    def unload(self, call: Unload) -> None:
        self.at_once([call])

    @rule(call=calls)
    def call(self, call: Call) -> None:
        self.at_once([call])

    @rule(together=st.lists(calls, min_size=2, max_size=4))
    def several_at_once(self, together: list[Call]) -> None:
        self.at_once(together)

    @rule(load=loads, together=on_one_model)
    def several_at_once_on_one_model(self, load: Load, together: list[Load | Unload | Invoke]) -> None:
        """Whatever ids were drawn, all calls are for that of the model that is loaded first, if it can be."""
        self.at_once([load])
        self.at_once([dataclasses.replace(call, identifier=load.identifier) for call in together])

    @rule(load=loads, together=on_one_model, which=st.integers(0, 1))
    def killed_meanwhile(self, load: Load, together: list[Load | Unload | Invoke], which: int) -> None:
        """The same, and the model is killed."""
        self.at_once([load])
        for_it = [dataclasses.replace(call, identifier=load.identifier) for call in together]
        self.at_once([*for_it, Kill(load.identifier, which)])

    @rule(identifier=identifiers, first=archives, second=archives)
    def two_loads_of_one_id(self, identifier: str, first: Archive, second: Archive) -> None:
        self.at_once([Load(identifier, first), Load(identifier, second)])

    @rule(load=loads, which=st.integers(0, 1))
    def load_and_kill_it_meanwhile(self, load: Load, which: int) -> None:
        """A process ends while its model is being loaded, or just after."""
        before = set(self.world.family.workers())
        if load.identifier in self.contract.loaded or not self.contract.fits(load.archive) or load.archive.refused:
            return
        answer = self.world.pool.submit(self.world.make, load)
        new = wait_for(
            lambda: self._new(before, which, answer.done()), what="a new process", timeout_s=10, every_s=0.001
        )
        new.kill()
        outcome = answer.result()
        assert outcome in (200, 500), outcome
        self.world.seen[f"load and kill {outcome}"] += 1
        self.settle([self.contract], at_once=outcome != 200)

    def _new(self, before: set[psutil.Process], which: int, answered: bool) -> psutil.Process | None:
        new = [worker for worker in self.world.family.workers() if worker not in before]
        return new[min(which, len(new) - 1)] if len(new) > which or (new and answered) else None

    @rule(identifier=st.sampled_from([*HOSTILE, *NO_IDENTIFIERS]), known=identifiers)
    def hostile_id(self, identifier: Any, known: str) -> None:
        assert _refused_in_words(self.world.server.client.load(identifier, self.world.urls[ARCHIVES[0]])) == 400
        if isinstance(identifier, str):
            self.at_once([Get(identifier), Unload(identifier), Invoke(identifier, 1.0), Get(known)])

    @rule(identifier=identifiers, url=st.sampled_from(NO_FOLDERS))
    def no_folder(self, identifier: str, url: Any) -> None:
        status = _refused_in_words(self.world.server.client.load(identifier, url, timeout_s=TIMEOUT_S))
        if not isinstance(url, str):
            assert status == 400
        else:
            assert status in ({409} if identifier in self.contract.loaded else {400, 404})

    def at_once(self, together: list[Call]) -> None:
        """Make calls at the same time, and go on from where they have led."""
        together = [self._named(call) for call in together]
        victims = [self._victims(call) for call in together]
        outcomes = list(self.world.pool.map(self.world.make, together, victims))
        made: list[Made] = list(zip(together, outcomes, strict=True))
        ends = list(self.contract.explain(made))
        assert ends, f"no order of these calls explains what they answered: {made}\nloaded: {self.contract.loaded}"
        self.world.seen.update(_kind_of(call, outcome, len(together)) for call, outcome in made)
        self.settle(ends, at_once=not any(victims))

    def _named(self, call: Call) -> Call:
        """The call, with the number of the load that it makes or ends."""
        if isinstance(call, Load):
            return Load(call.identifier, call.archive, next(self.world.numbers))
        if isinstance(call, Kill) and (load := self.contract.loaded.get(call.identifier)):
            return Kill(call.identifier, call.which, load.number)
        return call

    def _victims(self, call: Call) -> list[psutil.Process]:
        if isinstance(call, Kill) and call.number is not None:
            return self.world.processes_of(call.identifier)
        return []

    def settle(self, ends: list[Contract], *, at_once: bool) -> None:
        """Find out which end it was: *at_once*, or when word of the deaths has come."""

        def found() -> Contract | None:
            listed = self.world.listed()
            here = [end for end in ends if self._urls(end) == listed]
            return here[0] if here and len(self.world.family.workers()) == here[0].processes else None

        timeout_s = 0.0 if at_once else TIMEOUT_S
        self.contract = wait_for(found, what=f"one of {ends}, seen {self.world.listed()}", timeout_s=timeout_s)

    def _urls(self, contract: Contract) -> dict[str, str]:
        return {identifier: self.world.urls[load.archive] for identifier, load in contract.loaded.items()}

    @invariant()
    def what_is_loaded_is_listed_described_and_answers(self) -> None:
        assert self.world.listed() == self._urls(self.contract)
        assert len(self.world.family.workers()) == self.contract.processes
        for identifier in IDENTIFIERS:
            for call in (Get(identifier), Invoke(identifier, 3.0)):
                ((allowed, _),) = self.contract.allowed(call, ())
                assert self.world.make(call) == allowed


def _kind_of(call: Call, outcome: Outcome, together: int) -> str:
    status = outcome if isinstance(outcome, int) else outcome[0]
    return f"{type(call).__name__} {status}{' together' if together > 1 else ''}"


@pytest.fixture
def world(tmp_path: Path, mme_settings: Settings, mme_models: Models) -> Iterator[World]:
    """A server with room for `ROOM` units, and the archives."""
    models = [
        *mme_models.fleet(1, "tiny"),
        mme_models.linear("slow", sleep_ms=20),  # long enough to meet another call
        mme_models.linear("handled", handler=ASK_OR_RAISE),
        mme_models.linear("large", weights_mib=UNIT_MIB),
        mme_models.linear("huge", weights_mib=2 * UNIT_MIB),
    ]
    with Run(mme_settings, directory=tmp_path) as run:
        world = World(lambda: run.server(memory_mib=MEMORY_MIB), {model.name: model for model in models})
        with contextlib.closing(world):
            yield world


def test_any_order_of_calls_gets_the_replies_of_the_contract(world: World, record_property: RecordProperty) -> None:
    try:
        run_state_machine_as_test(type("AnyOrderHere", (AnyOrder,), {"world": world}), settings=HOW_MUCH)
    except Exception:
        show(record_property, last_events="\n".join(["", *map(line, world.server.timeline[-EVENTS_SHOWN:])]))
        raise
    show(record_property, **dict(sorted(world.seen.items())))
    assert {f"{kind} {status}" for kind, status, *_ in map(str.split, world.seen)} >= JUDGED
