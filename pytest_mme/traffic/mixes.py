"""Which model each request of a load goes to."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from pytest_mme.errors import shown
from pytest_mme.models.builder import Model

M = TypeVar("M", bound="Model | str", covariant=True)


@dataclasses.dataclass(frozen=True)
class Mix(Generic[M]):
    """An order of models, which is the same each time that it is started."""

    name: str
    """As logs and reports show it: ``zipf of 3, s 1, seed 0``."""
    start: Callable[[], Iterator[M]]
    """Begins the order anew; a name stands for the model of that name of the server or endpoint that gets the load."""


def round_robin(models: Sequence[M]) -> Mix[M]:
    """The models one after the other, again and again."""
    models = _some(models)
    return Mix(f"round robin of {len(models)}", lambda: itertools.cycle(models))


def uniform(models: Sequence[M], *, seed: int = 0) -> Mix[M]:
    """Each model as often as any other, at random."""
    return _weighted(_some(models), [1.0] * len(models), f"uniform of {len(models)}", seed)


def zipf(models: Sequence[M], *, s: float = 1.0, seed: int = 0) -> Mix[M]:
    """The first model most often, the *k*-th with the weight ``1 / k ** s``, at random, as on many endpoints."""
    models = _some(models)
    weights = [1 / rank**s for rank in range(1, len(models) + 1)]
    return _weighted(models, weights, f"zipf of {len(models)}, s {s:g}", seed)


def trace(models: Sequence[M]) -> Mix[M]:
    """The models in exactly this order, once, such as a recorded one."""
    models = _some(models)
    return Mix(f"trace of {len(models)}", lambda: iter(models))


def _weighted(models: Sequence[M], weights: Sequence[float], name: str, seed: int) -> Mix[M]:
    def start() -> Iterator[M]:
        chosen = random.Random(seed)
        while True:
            yield from chosen.choices(models, weights, k=1)

    return Mix(f"{name}, seed {seed}", start)


def _some(models: Sequence[M]) -> Sequence[M]:
    if isinstance(models, Model | str):
        raise TypeError(f"a mix takes a list of models, or of their names, not {shown(models)}")
    if not models:
        raise ValueError("a mix needs at least one model")
    return tuple(models)
