"""The project's two images side by side: the embedded server, and AWS's documented stack with TensorFlow's package.

`pytest-mme image build server` and `… mms` come first.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Sequence

from bench.claims import amount
from bench.measure import MIB, median_ms, percentile_ms, seconds_in_turn, seconds_of
from bench.output import Lines
from bench.rig import Placed, Rig, Say, rigged
from pytest_mme import Run, Settings, versions
from pytest_mme.images.build import tag
from pytest_mme.runtimes.docker.engine import connect

COLUMNS = ("at the contract, in a container", "server", "mms", "times", "aim", "")
_STARTS, _LOADS, _CALLS = 3, 8, 2000


def images(say: Say) -> Lines:
    """Start, load, memory, invoke and size of each, in one run."""
    with rigged(say) as rig, contextlib.ExitStack() as stack:
        ours, theirs = (stack.enter_context(_run(name)) for name in ("server", "mms"))
        return [
            _line("start to /ping and GET /models (median of 3)", "s", _starts(rig, ours), _starts(rig, theirs), 0.8),
            *_loads_and_memory(rig, ours, theirs),
            *_invokes(rig, ours, theirs),
            _line("size of the image", "MB", _megabytes("server"), _megabytes("mms"), 1100),
        ]


def _run(image: str) -> Run:
    chosen = {"PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": tag(image, versions.installed())}
    return Run(Settings.resolve(environment={**os.environ, **chosen}))


def _starts(rig: Rig, run: Run) -> float:
    rig.say("starts of containers")
    return statistics.median(_start_s(run) for _ in range(_STARTS))


def _start_s(run: Run) -> float:
    began = time.perf_counter()
    with run.server():
        return time.perf_counter() - began


def _loads_and_memory(rig: Rig, ours: Run, theirs: Run) -> Lines:
    rig.say(f"{_LOADS} loads into each")
    (load_s, held_mib), (their_load_s, their_held_mib) = (_loading(rig, run) for run in (ours, theirs))
    return [
        _line(f"load of a tiny model (median of {_LOADS})", "s", load_s, their_load_s, their_load_s / 15),
        _line(f"memory per resident model (of {_LOADS}, asked once)", "MiB", held_mib, their_held_mib, 25),
    ]


def _loading(rig: Rig, run: Run) -> tuple[float, float]:
    """Seconds per load, and how many MiB the container grows by for each model."""
    with run.server() as server:
        idle = server.running.used_bytes()
        placed = [Placed(server, model) for model in rig.run.models.fleet(_LOADS)]
        seconds = []
        for one in placed:
            seconds.append(seconds_of(one.load))
            one.check()
        held = (server.running.used_bytes() - idle) / _LOADS / MIB
    return statistics.median(seconds), held


def _invokes(rig: Rig, ours: Run, theirs: Run) -> Lines:
    rig.say(f"{_CALLS} invokes of each, in turn")
    with ours.server() as one, theirs.server() as other:
        placed = [Placed(server, rig.run.models.linear("tiny")) for server in (one, other)]
        for each in placed:
            each.load()
            each.check()
        seconds, their_seconds = seconds_in_turn(_CALLS, *(each.invoke for each in placed))
    their_p50, their_p99 = median_ms(their_seconds), percentile_ms(their_seconds, 99)
    return [
        _line(f"invoke, p50 (of {_CALLS})", "ms", median_ms(seconds), their_p50, their_p50),
        _line(f"invoke, p99 (of {_CALLS})", "ms", percentile_ms(seconds, 99), their_p99, their_p99),
    ]


def _megabytes(image: str) -> float:
    with contextlib.closing(connect()) as engine:
        return float(engine.images.get(tag(image, versions.installed())).attrs["Size"]) / 1e6


def _line(what: str, unit: str, ours: float, theirs: float, at_most: float) -> Sequence[str]:
    verdict = "ok" if ours <= at_most else "MISSED"
    shown = (amount(ours, unit), amount(theirs, unit), f"{theirs / ours:.1f}", f"at most {amount(at_most, unit)}")
    return (what, *shown, verdict)
