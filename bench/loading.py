"""Loads at the contract, and what a resident model holds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from bench.claims import Claim, Row
from bench.measure import seconds_of, uss_mib
from bench.rig import Placed, Rig
from pytest_mme import Server

_LOADS = 30
_RESIDENT = 20
_FLEET = 50
_STARTS = 3


def load(rig: Rig) -> Sequence[Row]:
    """`POST /models` until the first answer, model by model, each unloaded again."""
    peers = rig.peers
    rig.say(f"{_LOADS} loads of a tiny model")
    start_s = []
    with rig.run.server() as server:
        for model in rig.run.models.fleet(_LOADS):
            placed = Placed(server, model)
            start_s.append(seconds_of(placed.first_answer))
            placed.check()
            placed.unload()
    return [
        Claim(
            what=f"load of a tiny model, to its first answer (median of {_LOADS})",
            ours=statistics.median(start_s),
            unit="s",
            peer=peers.first_answer_s,
            at_most=0.1,
            times_less=20,
        )
    ]


def memory(rig: Rig) -> Sequence[Row]:
    """The private memory of each of several resident models after one invoke."""
    peers = rig.peers
    rig.say(f"memory of {_RESIDENT} resident models")
    with rig.run.server() as server:
        for model in rig.run.models.fleet(_RESIDENT):
            Placed(server, model).first_answer()
        private_mib = statistics.median(map(uss_mib, _worker_pids(server)))
    return [
        Claim(
            what=f"memory of a resident tiny model (USS, median of {_RESIDENT})",
            ours=private_mib,
            unit="MiB",
            peer=peers.uss_mib,
            at_most=25,
        )
    ]


def _worker_pids(server: Server) -> list[int]:
    return [event.detail["pid"] for event in server.timeline if event.kind == "load" and event.source == "server"]


def fleet(rig: Rig) -> Sequence[Row]:
    """Many models on one server, loaded and invoked one after the other; all stay."""
    rig.say(f"{_FLEET} models on one server")
    with rig.run.server() as server:
        placed = [Placed(server, model) for model in rig.run.models.fleet(_FLEET)]
        total_s = sum(seconds_of(one.first_answer) for one in placed)
    return [Claim(what=f"{_FLEET} tiny models, each loaded and invoked", ours=total_s, unit="s", at_most=8)]


def start(rig: Rig) -> Sequence[Row]:
    """What comes once, before all loads: the server itself."""
    rig.say("starts of the server")
    starts_s = [_start_s(rig) for _ in range(_STARTS + 1)][1:]
    what = f"start of a server, once for all models (median of {_STARTS})"
    return [Claim(what=what, ours=statistics.median(starts_s), unit="s")]


def _start_s(rig: Rig) -> float:
    began = time.perf_counter()
    with rig.run.server():
        return time.perf_counter() - began
