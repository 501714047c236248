"""A schedule of random faults depends on its seed and its arguments only."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

import pytest

from pytest_mme.faults import chaos


def drawn(seed: int, **changed: Any) -> chaos.Schedule:
    settings: dict[str, Any] = {"seconds": 60, "rate": 5, "kinds": chaos.KINDS} | changed
    return chaos.schedule(seed, ["a", "b"], **settings)


def test_the_same_seed_makes_the_same_schedule_and_another_seed_another() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_faults_of_all_kinds_hit_all_models_one_after_the_other_and_end_in_time() -> None:
    plan = drawn(3)
    assert all(one.at_s + one.lasts_s <= other.at_s for one, other in pairwise(plan))
    assert plan[-1].at_s + plan[-1].lasts_s <= 60
    assert {strike.kind for strike in plan} == set(chaos.KINDS)
    assert {strike.model for strike in plan} == {"a", "b"}


def test_a_schedule_has_only_the_chosen_kinds() -> None:
    assert {strike.kind for strike in drawn(4, kinds=["kill"])} == {"kill"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": inf},
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": inf},
        {"kinds": []},
        {"kinds": ["kill", "flood"]},
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="chaos"):
        drawn(1, **wrong)


def test_chaos_needs_a_model() -> None:
    with pytest.raises(ValueError, match="chaos needs a model"):
        chaos.schedule(1, [], seconds=1, rate=1, kinds=chaos.KINDS)


def test_a_schedule_may_be_short_and_its_faults_rare_or_frequent() -> None:
    assert len(drawn(1, seconds=0.5, rate=50)) > 0
    assert drawn(1, seconds=0.5, rate=1e-9) == chaos.Schedule(1, [])
    plan = drawn(5, seconds=1000, rate=2)
    assert all(0.05 <= strike.lasts_s <= 0.5 for strike in plan.strikes[:-1])
    pauses = [other.at_s - one.at_s - one.lasts_s for one, other in pairwise(plan)]
    assert sum(pauses) / len(pauses) == pytest.approx(0.5, rel=0.1)


def test_random_seeds_differ_and_have_six_digits_at_most() -> None:
    seeds = {chaos.random_seed() for _ in range(20)}
    assert len(seeds) > 1
    assert 100_000 < max(seeds) < 1_000_000
