"""Which models the requests of a load go to."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.models.builder import Model
from pytest_mme.traffic.mixes import Mix, round_robin, trace, uniform, zipf

MODELS = [Model(name=name, archive=Path("model.tar.gz")) for name in "abc"]


def first(mix: Mix[Model], count: int) -> list[str]:
    return [model.name for model in itertools.islice(mix.start(), count)]


def test_round_robin_repeats_the_models_in_order() -> None:
    assert first(round_robin(MODELS), 5) == ["a", "b", "c", "a", "b"]


def test_a_trace_has_exactly_its_models_and_ends() -> None:
    assert first(trace([MODELS[1], MODELS[1], MODELS[0]]), 9) == ["b", "b", "a"]


def test_uniform_chooses_all_models_equally_often() -> None:
    asked = Counter(first(uniform(MODELS), 3000))
    assert all(900 < asked[name] < 1100 for name in "abc")


def test_zipf_chooses_the_first_model_most_often() -> None:
    asked = Counter(first(zipf(MODELS), 11_000))  # weights 6 : 3 : 2
    assert [round(asked[name] / 1000) for name in "abc"] == [6, 3, 2]
    steeper = Counter(first(zipf(MODELS, s=3), 11_000))
    assert steeper["a"] > asked["a"]


@pytest.mark.parametrize("mix", [uniform, zipf])
def test_the_same_seed_gives_the_same_order_and_another_seed_another(mix: type) -> None:
    assert first(mix(MODELS, seed=7), 50) == first(mix(MODELS, seed=7), 50)
    assert first(mix(MODELS, seed=7), 50) != first(mix(MODELS, seed=8), 50)
    once = mix(MODELS)
    assert first(once, 50) == first(once, 50)


@pytest.mark.parametrize("mix", [round_robin, uniform, zipf, trace])
def test_a_mix_without_models_is_refused(mix: type) -> None:
    with pytest.raises(ValueError, match="a mix needs at least one model"):
        mix([])


def test_a_mix_of_names_gives_names() -> None:
    assert list(itertools.islice(zipf(["a", "b"]).start(), 50)) == [
        model.name for model in itertools.islice(zipf(MODELS[:2]).start(), 50)
    ]


@pytest.mark.parametrize("mix", [round_robin, uniform, zipf, trace])
@pytest.mark.parametrize("one", ["model-0", MODELS[0]], ids=["name", "model"])
def test_a_mix_of_no_list_says_that_it_takes_a_list(mix: Any, one: Any) -> None:
    with pytest.raises(TypeError, match=r"a mix takes a list of models, or of their names, not .*(model-0|name='a')"):
        mix(one)


@pytest.mark.parametrize(
    ("mix", "same", "name"),
    [
        (round_robin(MODELS), round_robin(MODELS), "round robin of 3"),
        (trace(MODELS), trace(MODELS), "trace of 3"),
        (uniform(MODELS), uniform(MODELS, seed=0), "uniform of 3, seed 0"),
        (zipf(MODELS), zipf(MODELS, s=1, seed=0), "zipf of 3, s 1, seed 0"),
        (zipf(MODELS, s=1.5, seed=7), zipf(MODELS, s=1.5, seed=7), "zipf of 3, s 1.5, seed 7"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_mix_has_the_name_that_makes_it_again(mix: Mix[Model], same: Mix[Model], name: str) -> None:
    assert (mix.name, first(mix, 50)) == (name, first(same, 50))
