"""Draws settings of worlds, and how they are recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import Literal, get_args

from hypothesis import strategies as st

from tests.truth.observer import Recording
from tests.truth.world import POLICIES, STEP_S, Asked, Defect, ModelSetting, Setting

DEFECTS: tuple[Defect, ...] = get_args(Defect)


Shape = Literal["sparse", "busy", "steady"]
SHAPES: tuple[Shape, ...] = get_args(Shape)


def setting(seed: int, defect: Defect, shape: Shape) -> Setting:
    """A random setting. Of *steady* ones models have requests all the time and memory for all: latencies can be compared."""
    dice = Random(seed)
    names = [f"model-{number}" for number in range(dice.randint(2, 4))]
    models = [ModelSetting(name, dice.choice((1, 2, 5)) * STEP_S, dice.choice((3, 10, 30)) * STEP_S) for name in names]
    lasts_s = dice.choice((5.0, 8.0))
    steady = shape == "steady"
    return Setting(
        models=[dataclasses.replace(one, load_s=1.2) for one in models] if steady else models,
        room=len(names) if steady else dice.randint(1, len(names)),
        policy=dice.choice(POLICIES),
        requests=sorted(
            _steady(dice, names) if steady else _random(dice, names, lasts_s, shape), key=lambda one: one.at_s
        ),
        deaths=[
            (_moment(dice, lasts_s), dice.choice(names)) for _ in range(0 if steady else dice.choice((0, 0, 1, 2)))
        ],
        unloads=[(_moment(dice, lasts_s), dice.choice(names)) for _ in range(0 if steady else dice.choice((0, 0, 1)))],
        defect=defect,
        since_s=0.0 if steady else dice.choice((0.0, lasts_s / 2)),
    )


def _random(dice: Random, names: Sequence[str], lasts_s: float, shape: Shape) -> list[Asked]:
    found: list[Asked] = []
    for name in names:
        for _ in range(dice.randint(10, 25) if shape == "busy" else dice.randint(0, 8)):
            found.append(Asked(_moment(dice, lasts_s), name, dice.random() < 0.8, dice.random() < 0.05))
        if dice.random() < 0.3:  # a few at once
            found += [Asked(_moment(dice, lasts_s), name, by_kit=True)] * dice.randint(2, 4)
    return found


def _steady(dice: Random, names: Sequence[str]) -> list[Asked]:
    """The first model in two bursts, the second all the time, the others from some moment on."""
    times = [(2.0, 3.5), (0.0, 7.0), *((_moment(dice, 2.0), 7.0) for _ in names[2:])]
    every_s = [dice.choice((5, 8)) * STEP_S for _ in names]
    found: list[Asked] = []
    for name, (from_s, to_s), step_s in zip(names, times, every_s, strict=False):
        found += [Asked(from_s + number * step_s, name, by_kit=True) for number in range(int((to_s - from_s) / step_s))]
    return found


def _moment(dice: Random, lasts_s: float) -> float:
    return dice.randrange(int(lasts_s / STEP_S)) * STEP_S


settings = st.builds(setting, st.integers(0, 2**32), st.sampled_from(DEFECTS), st.sampled_from(SHAPES))
recordings = st.builds(
    Recording,
    seed=st.integers(0, 2**32),
    server_sees=st.booleans(),
    exact=st.booleans(),
    engine_reports=st.booleans(),
)
