"""Random faults: which, on which models, when and for how long; the same for the same seed."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

Kind = Literal["kill", "paused", "slowed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_SHORTEST_S, _LONGEST_S = 0.05, 0.5
_LATENCY_S = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strike:
    """One fault of a schedule."""

    at_s: float
    """When it begins, in seconds since the schedule's beginning."""
    kind: Kind
    model: str
    """The model whose process it hits; `slowed` hits all."""
    lasts_s: float
    """How long it lasts, in seconds; a kill takes no time."""
    latency_s: float = _LATENCY_S


@dataclasses.dataclass(frozen=True)
class Schedule(Sequence[Strike]):
    """The faults of one chaos, in order. The same seed and the same arguments make the same schedule."""

    seed: int
    strikes: Sequence[Strike]

    def __getitem__(self, index: int) -> Strike:  # type: ignore[override]  # nobody slices it
        return self.strikes[index]

    def __len__(self) -> int:
        return len(self.strikes)

    def __iter__(self) -> Iterator[Strike]:
        return iter(self.strikes)


def schedule(seed: int, models: Sequence[str], *, seconds: float, rate: float, kinds: Sequence[Kind]) -> Schedule:
    """A schedule of *rate* faults per second on average, for so many *seconds*, one after the other.

    Raises ValueError for a rate or a time that is not above 0, for an unknown kind, for no kinds and for no models.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"chaos has no fault {', '.join(unknown)}: choose among {', '.join(KINDS)}")
    if not kinds or not models or not 0 < rate < math.inf or not 0 < seconds < math.inf:
        raise ValueError("chaos needs a model, a kind of fault, and rate= and seconds= above 0 and finite")
    drawn = random.Random(seed)
    strikes, at_s = [], drawn.expovariate(rate)
    while at_s < seconds:
        lasts_s = min(drawn.uniform(_SHORTEST_S, _LONGEST_S), seconds - at_s)
        strikes.append(Strike(at_s=at_s, kind=drawn.choice(kinds), model=drawn.choice(models), lasts_s=lasts_s))
        at_s += lasts_s + drawn.expovariate(rate)
    return Schedule(seed, strikes)


def random_seed() -> int:
    """A random seed, short enough to be typed."""
    return random.SystemRandom().randrange(10**6)
