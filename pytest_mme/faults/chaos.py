"""Trouble at random: which faults, on which models, when and for how long; the same for the same seed."""

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
    """One fault of a schedule; moments in seconds since its beginning."""

    at_s: float
    kind: Kind
    model: str
    """Whose process it is for; `slowed` concerns all."""
    lasts_s: float
    latency_s: float = _LATENCY_S


@dataclasses.dataclass(frozen=True)
class Schedule(Sequence[Strike]):
    """What happens when. The *seed* makes it: same seed, same arguments, same schedule."""

    seed: int
    strikes: Sequence[Strike]

    def __getitem__(self, index: int) -> Strike:  # type: ignore[override]  # nobody slices it
        return self.strikes[index]

    def __len__(self) -> int:
        return len(self.strikes)

    def __iter__(self) -> Iterator[Strike]:
        return iter(self.strikes)


def schedule(seed: int, models: Sequence[str], *, seconds: float, rate: float, kinds: Sequence[Kind]) -> Schedule:
    """*rate* faults per second on average, for so many *seconds*, one after the other.

    ValueError for a rate or a time that is not above 0, an unknown kind, no kinds or no models.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"chaos knows no {', '.join(unknown)}: choose among {', '.join(KINDS)}")
    if not kinds or not models or not 0 < rate < math.inf or not 0 < seconds < math.inf:
        raise ValueError("chaos needs a model, a kind of fault, and rate= and seconds= above 0 and finite")
    drawn = random.Random(seed)
    strikes, at_s = [], drawn.expovariate(rate)
    while at_s < seconds:
        lasts_s = min(drawn.uniform(_SHORTEST_S, _LONGEST_S), seconds - at_s)
        strikes.append(Strike(at_s=at_s, kind=drawn.choice(kinds), model=drawn.choice(models), lasts_s=lasts_s))
        at_s += lasts_s + drawn.expovariate(rate)
    return Schedule(seed, strikes)


def any_seed() -> int:
    """One that nobody has chosen, short enough to be typed."""
    return random.SystemRandom().randrange(10**6)
