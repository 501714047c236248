"""Rounds of loads and unloads on a server that keeps something of each round, or does not."""

from __future__ import annotations

import dataclasses
from random import Random

from pytest_mme.timeline.events import Event

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Rounds:
    """What a server's memory does; sizes in MiB."""

    seed: int
    rounds: int
    models: int
    base: float
    leak: float
    """What it keeps of each round."""
    noise: float
    """The deviation of a measurement."""
    warm_up: float
    """What it keeps of the first rounds, less with each."""


def record(how: Rounds) -> list[Event]:
    """The events of the rounds, in any order."""
    dice = Random(how.seed)
    sizes = [dice.uniform(5, 100) for _ in range(how.models)]
    events: list[Event] = []
    for number in range(how.rounds):
        kept = how.base + how.leak * number + how.warm_up * (1 - 0.2**number)
        model, began_s = number % how.models, float(number)
        name = f"model-{model}"
        loaded = kept + sizes[model] + dice.gauss(0, how.noise)
        events += [
            Event(kind="load", source="client", at_s=began_s + 0.3, seconds=0.2, model=name),
            _sample(began_s + 0.4, loaded),
            _sample(began_s + 0.5, loaded - dice.uniform(0, 2)),
            Event(kind="unload", source="client", at_s=began_s + 0.7, seconds=0.1, model=name),
            _sample(began_s + 0.8, kept + dice.gauss(0, how.noise)),
        ]
    dice.shuffle(events)
    return events


def _sample(at_s: float, mib: float) -> Event:
    return Event(kind="sample", source="server", at_s=at_s, detail={"used_bytes": int(mib * _MIB)})
