"""What recording, judging, showing and driving load cost: the numbers of docs/report.md and docs/checks.md."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.claims import Claim
from bench.measure import MIB, median_ms, seconds_in_turn, seconds_of
from bench.output import Lines
from bench.processes import started
from bench.rig import BODY, INSTANCE, Rig, Say, rigged
from pytest_mme import ContractClient, Endpoint, Model, checks, round_robin
from pytest_mme.report.html import page
from pytest_mme.report.records import Record
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.traffic.traffic import Traffic

_EVENTS, _MODELS = 100_000, 50
_CALLS, _ROUNDS, _CLIENTS = 1000, 5, 4
_PER_SECOND = 2000


def evidence(say: Say) -> Lines:
    """The table."""
    with rigged(say) as rig:
        found = [*_judging(rig), *_page(rig), _recording(rig), _contract(rig), _boto3(rig)]
    return [claim.cells for claim in found]


# 100 000 events


def _timeline() -> Timeline:
    """Of an endpoint with room for half of its models: requests, the loads that some wait for, evictions, two deaths."""
    drawn, timeline, resident = random.Random(0), Timeline(), list[str]()
    at_s = 0.0
    while len(timeline) < _EVENTS:
        at_s += drawn.expovariate(200)
        model = f"model-{min(int(drawn.expovariate(0.08)), _MODELS - 1)}"
        began_s = at_s
        if model not in resident:
            began_s = _loaded(timeline, model, resident, at_s)
        else:
            resident.remove(model)
        resident.append(model)
        seconds = drawn.uniform(0.001, 0.03) + began_s - at_s
        _record(timeline, "attempt", "hosting", model, at_s + seconds, seconds)
        detail = {"x": [1.0], "got": {"identity": model, "y": [1.0]}, "expected": {"identity": model, "value": [1.0]}}
        _record(timeline, "invoke", "test", model, at_s + seconds, seconds, detail=detail)
    for number in range(2):
        _record(timeline, "crash", "server", f"model-{number}", at_s * (number + 1) / 3, None, outcome="SIGKILL")
    return timeline


def _loaded(timeline: Timeline, model: str, resident: list[str], at_s: float) -> float:
    """When its load, for which another has to go, is over."""
    if len(resident) >= _MODELS // 2:
        gone = resident.pop(0)
        _record(timeline, "evict", "hosting", gone, at_s + 0.01, 0.01)
        _record(timeline, "unload", "hosting", gone, at_s + 0.01, 0.01)
    _record(timeline, "load", "hosting", model, at_s + 0.06, 0.05)
    _record(timeline, "sample", "server", None, at_s + 0.06, None, detail={"used_bytes": len(resident) * 50 * MIB})
    return at_s + 0.06


def _record(timeline: Timeline, kind: Any, source: Any, model: str | None, at_s: float, seconds: float | None, **more: Any) -> None:  # fmt: skip
    timeline.record(kind, source=source, server="ranking", model=model, at_s=at_s, seconds=seconds, **more)


def _judging(rig: Rig) -> Iterator[Claim]:
    rig.say(f"{_EVENTS} events, judged")
    timeline = _timeline()
    events = list(timeline)
    peer_s = seconds_of(lambda: [Event.from_json(event.to_json()) for event in events])
    took = {name: seconds_of(lambda call=call: _made(call, events)) for name, call in _calls().items()}  # type: ignore[misc]
    slowest = max(took, key=took.__getitem__)
    yield Claim(
        what=f"all {len(took)} checks over {len(events)} events (peer: as JSON and back)",
        ours=sum(took.values()),
        unit="s",
        peer=peer_s,
    )
    yield Claim(what=f"the slowest of them, {slowest}", ours=took[slowest], unit="s", peer=peer_s, at_most=2)


def _calls() -> dict[str, Callable[[Sequence[Event]], None]]:
    few = ["model-0", "model-1", "model-2"]
    return {
        "check_answers": lambda events: checks.check_answers(events),
        "check_capacity": lambda events: checks.check_capacity(events, _MODELS // 2),
        "check_concurrent": lambda events: checks.check_concurrent(events),
        "check_drained": lambda events: checks.check_drained(events),
        "check_evicted": lambda events: checks.check_evicted(events, "model-9"),
        "check_evictions": lambda events: checks.check_evictions(events, at_least=1),
        "check_fair": lambda events: checks.check_fair(events, hog="model-0", max_ratio=9),
        "check_fifo": lambda events: checks.check_fifo(events),
        "check_isolated": lambda events: checks.check_isolated(events, good=few[2:], bad=few[:2], max_ratio=9),
        "check_lfu": lambda events: checks.check_lfu(events),
        "check_loads_once": lambda events: checks.check_loads_once(events),
        "check_lru": lambda events: checks.check_lru(events),
        "check_memory_bounded": lambda events: checks.check_memory_bounded(events, cycles=9),
        "check_no_stall": lambda events: checks.check_no_stall(events, of=few),
        "check_no_thrash": lambda events: checks.check_no_thrash(events),
        "check_recovers": lambda events: checks.check_recovers(events, within_s=9),
        "check_resident": lambda events: checks.check_resident(events, "model-0"),
    }


def _made(check: Callable[[Sequence[Event]], None], events: Sequence[Event]) -> None:
    with contextlib.suppress(AssertionError):  # what it finds is not the question
        check(events)


def _page(rig: Rig) -> Iterator[Claim]:
    rig.say(f"a page of {_EVENTS} events")
    record = Record(test="bench", outcome="passed", timeline=_timeline(), servers=["ranking"])
    began = time.perf_counter()
    text = page([record], None)
    yield Claim(what=f"page of {_EVENTS} events, written", ours=time.perf_counter() - began, unit="s")
    yield Claim(what=f"page of {_EVENTS} events, size", ours=len(text.encode()) / 1e6, unit="MB", at_most=10)
    if shutil.which("chromium") and shutil.which("chromedriver"):
        usable_s, drawn_s = zip(*(_opened(text) for _ in range(_ROUNDS)), strict=True)
        yield Claim(what="the same in Chromium, until its tables and filters work", ours=statistics.median(usable_s), unit="s", at_most=2)  # fmt: skip
        yield Claim(what="the same in Chromium, until its charts are drawn", ours=statistics.median(drawn_s), unit="s", at_most=2)  # fmt: skip


def _opened(text: str) -> tuple[float, float]:
    """Seconds since the navigation began."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1300,1400"):
        options.add_argument(argument)
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as undo:
        file = Path(folder, "page.html")
        file.write_text(text)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        undo.callback(browser.quit)
        browser.get(file.as_uri())
        of = "return document.documentElement.dataset."
        WebDriverWait(browser, 60).until(lambda one: one.execute_script(f"{of}drawnMs"))
        usable, drawn = (float(browser.execute_script(of + name)) / 1e3 for name in ("usableMs", "drawnMs"))
        return usable, drawn


# Calls


def _recording(rig: Rig) -> Claim:
    """With the timeline, and with one that forgets; they take turns."""
    rig.say("recording")
    with rig.run.aws() as aws:
        model = rig.run.models.linear("tiny")
        with rig.run.endpoint([model], aws=aws) as endpoint:
            endpoint.invoke(model, INSTANCE)
            with_, without = (lambda: endpoint.invoke(model, INSTANCE)), (lambda: _unrecorded(endpoint, model))
            turns = seconds_in_turn(_CALLS, without, with_, without, without, with_)
    with_s, without_s = turns[1] + turns[4], turns[2] + turns[3]  # the first of each turn follows a collection
    share = 100 * (median_ms(with_s) / median_ms(without_s) - 1)
    return Claim(what="what recording adds to an invoke through boto3, p50", ours=share, unit="%", at_most=3)


def _unrecorded(endpoint: Endpoint, model: Model) -> None:
    vars(endpoint.recording)["add"] = lambda _: None
    try:
        endpoint.invoke(model, INSTANCE)
    finally:
        del vars(endpoint.recording)["add"]


class Nothing:
    """A target that does nothing, asked by the contract."""

    name = "nothing"

    def __init__(self, client: ContractClient) -> None:
        self._client, self.recording = client, Timeline()

    @property
    def timeline(self) -> Sequence[Event]:
        """What traffic has marked."""
        return self.recording.of(self.name)

    def model(self, model: Model | str) -> Model:
        """Traffic knows its models here."""
        assert isinstance(model, Model)
        return model

    def invoke(self, model: Model, x: Any) -> Any:
        """As a server is asked, without a record of each."""
        del x
        return json.loads(self._client.invoke(model.name, BODY).expect("invoke").body)


def _contract(rig: Rig) -> Claim:
    rig.say("traffic at the contract's level")
    models = rig.run.models.fleet(2)
    with started("bench.fronts", "aiohttp") as front, contextlib.closing(ContractClient(front.url)) as client:
        traffic = Traffic(Nothing(client))
        loads = [traffic.closed(round_robin(models), clients=_CLIENTS, requests=4 * _CALLS) for _ in range(_ROUNDS)]
        alone_s = seconds_of(lambda: [client.invoke("model", BODY) for _ in range(_CALLS)]) / _CALLS
    return Claim(
        what=f"a request of traffic to a server that does nothing, {_CLIENTS} clients (peer: one client, in turn)",
        ours=1e3 * statistics.median(load.seconds / len(load) for load in loads),
        unit="ms",
        peer=1e3 * alone_s,
        at_most=1e3 / _PER_SECOND,
    )


def _boto3(rig: Rig) -> Claim:
    """In turn: traffic, and threads that do no more than call boto3."""
    rig.say("traffic through boto3")
    with rig.run.aws() as aws:
        models = rig.run.models.fleet(2)
        with rig.run.endpoint(models, aws=aws) as endpoint:
            for model in models:
                endpoint.invoke(model, INSTANCE)
            ours, bare = list[float](), list[float]()
            for _ in range(_ROUNDS):
                bare.append(seconds_of(lambda: _bare(endpoint, models)) / _CALLS)
                load = Traffic(endpoint).closed(round_robin(models), clients=_CLIENTS, requests=2 * _CALLS)
                ours.append(load.seconds / len(load))
                bare.append(seconds_of(lambda: _bare(endpoint, models)) / _CALLS)
    peer_ms = 1e3 * statistics.median(bare)
    return Claim(
        what=f"a request of traffic through boto3, {_CLIENTS} clients (peer: bare boto3 in as many threads)",
        ours=1e3 * statistics.median(ours),
        unit="ms",
        peer=peer_ms,
        at_most=1.1 * peer_ms,
    )


def _bare(endpoint: Endpoint, models: Sequence[Model]) -> None:
    with ThreadPoolExecutor(_CLIENTS) as pool:
        keys = [models[number % len(models)].key for number in range(_CALLS)]
        for _ in pool.map(lambda key: endpoint.invoke_raw(key, BODY), keys):
            pass
