"""Which model each request of a load goes to."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from pytest_mme.models.builder import Model


@dataclasses.dataclass(frozen=True)
class Mix:
    """An order of models, which is the same each time that it is started."""

    name: str
    """As logs and reports show it: ``zipf of 3, s 1, seed 0``."""
    start: Callable[[], Iterator[Model]]


def round_robin(models: Sequence[Model]) -> Mix:
    """The models one after the other, again and again."""
    models = _some(models)
    return Mix(f"round robin of {len(models)}", lambda: itertools.cycle(models))


def uniform(models: Sequence[Model], *, seed: int = 0) -> Mix:
    """Each model as often as any other, at random."""
    return _weighted(_some(models), [1.0] * len(models), f"uniform of {len(models)}", seed)


def zipf(models: Sequence[Model], *, s: float = 1.0, seed: int = 0) -> Mix:
    """The first model most often, the *k*-th with the weight ``1 / k ** s``, at random, as on many endpoints."""
    weights = [1 / rank**s for rank in range(1, len(models) + 1)]
    return _weighted(_some(models), weights, f"zipf of {len(models)}, s {s:g}", seed)


def trace(models: Sequence[Model]) -> Mix:
    """The models in exactly this order, once, such as a recorded one."""
    models = _some(models)
    return Mix(f"trace of {len(models)}", lambda: iter(models))


def _weighted(models: Sequence[Model], weights: Sequence[float], name: str, seed: int) -> Mix:
    def start() -> Iterator[Model]:
        chosen = random.Random(seed)
        while True:
            yield from chosen.choices(models, weights, k=1)

    return Mix(f"{name}, seed {seed}", start)


def _some(models: Sequence[Model]) -> Sequence[Model]:
    if not models:
        raise ValueError("a mix needs at least one model")
    return tuple(models)
