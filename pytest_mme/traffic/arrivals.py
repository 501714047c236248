"""When the requests of an open load are due: they are sent whether or not earlier ones have had their replies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a load: its rate, in requests per second, changes evenly; with 0 seconds *burst* requests at once."""

    seconds: float
    start_rate: float = 0.0
    end_rate: float = 0.0
    burst: int = 0

    def __post_init__(self) -> None:
        if min(self.seconds, self.start_rate, self.end_rate, self.burst) < 0:
            raise ValueError(f"{self}: give no negative numbers")

    def due_by(self, seconds: float) -> float:
        """How many requests are due so many *seconds* after its beginning."""
        if not self.seconds:
            return self.burst
        return self.start_rate * seconds + (self.end_rate - self.start_rate) * seconds**2 / (2 * self.seconds)

    def due_at(self, count: float) -> float:
        """After how many seconds *count* requests are due; the inverse of `due_by`."""
        if not self.seconds:
            return 0.0
        slope = (self.end_rate - self.start_rate) / self.seconds
        if math.isclose(slope, 0, abs_tol=1e-12):
            return count / self.start_rate
        return (math.sqrt(max(0.0, self.start_rate**2 + 2 * slope * count)) - self.start_rate) / slope


def hold(rate: float, seconds: float) -> Stage:
    """A constant rate, in requests per second."""
    return Stage(seconds, rate, rate)


def ramp(start_rate: float, end_rate: float, seconds: float) -> Stage:
    """A rate, in requests per second, that changes evenly."""
    return Stage(seconds, start_rate, end_rate)


def burst(requests: int) -> Stage:
    """So many requests at once."""
    return Stage(0.0, burst=requests)


def due_times(stages: Iterable[Stage]) -> Iterator[float]:
    """When each request is due, in seconds from the beginning, in order."""
    began_s, owed = 0.0, 0.0  # the fraction of a request that a stage leaves belongs to the next one
    for stage in stages:
        total = stage.due_by(stage.seconds)
        for number in range(1, math.floor(total + owed + 1e-9) + 1):
            yield began_s + stage.due_at(min(total, number - owed))
        owed = max(0.0, owed + total - math.floor(total + owed + 1e-9))
        began_s += stage.seconds
