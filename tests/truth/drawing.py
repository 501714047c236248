"""Draws settings of worlds, and how they are recorded."""

from __future__ import annotations

from random import Random
from typing import get_args

from hypothesis import strategies as st

from tests.truth.observer import Recording
from tests.truth.world import POLICIES, STEP_S, Asked, Defect, ModelSetting, Policy, Setting

DEFECTS: tuple[Defect, ...] = get_args(Defect)


def setting(seed: int, defect: Defect, *, busy: bool, policy: Policy | None = None) -> Setting:
    """A random setting; *busy*: with many requests to few models, so that latencies can be compared."""
    dice = Random(seed)
    names = [f"model-{number}" for number in range(dice.randint(2, 4))]
    models = [ModelSetting(name, dice.choice((1, 2, 5)) * STEP_S, dice.choice((3, 10, 30)) * STEP_S) for name in names]
    lasts_s = dice.choice((5.0, 12.0))
    requests: list[Asked] = []
    for name in names:
        for _ in range(dice.randint(15, 40) if busy else dice.randint(0, 8)):
            requests += [Asked(_moment(dice, lasts_s), name, dice.random() < 0.8, dice.random() < 0.05)]
        if not busy and dice.random() < 0.3:  # a few at once
            requests += [Asked(_moment(dice, lasts_s), name, True)] * dice.randint(2, 4)
    killed = [(_moment(dice, lasts_s) + 0.01, dice.choice(names)) for _ in range(dice.choice((0, 0, 1, 2)))]
    unloads = [(_moment(dice, lasts_s) + 0.01, dice.choice(names)) for _ in range(dice.choice((0, 0, 1)))]
    return Setting(
        models=models,
        room=dice.randint(1, len(names)),
        policy=policy or dice.choice(POLICIES),
        requests=sorted(requests, key=lambda asked: asked.at_s),
        deaths=killed,
        unloads=unloads,
        defect=defect,
        since_s=dice.choice((0.0, lasts_s / 2)),
    )


def _moment(dice: Random, lasts_s: float) -> float:
    return dice.randrange(int(lasts_s / STEP_S)) * STEP_S


settings = st.builds(setting, st.integers(0, 2**32), st.sampled_from(DEFECTS), busy=st.booleans())
recordings = st.builds(
    Recording,
    seed=st.integers(0, 2**32),
    server_sees=st.booleans(),
    exact=st.booleans(),
    engine_reports=st.booleans(),
)
