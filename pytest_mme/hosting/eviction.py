"""Which model is evicted when another needs its room.

AWS documents that unused models are unloaded, not which: "least recently used" is the kit's assumption, and a name
that users can replace by another policy or by their own function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A resident model without a request in flight. Times are ticks of the state machine: larger is later."""

    model: str
    used: int
    """When its last request began or ended."""
    loaded: int
    """When it was loaded."""
    requests: int
    """How many requests it has had since it was loaded."""


Policy = Callable[[Sequence[Candidate]], str | None]
"""Takes the candidates and names the one to evict; None to evict none of them."""


def least_recently_used(candidates: Sequence[Candidate]) -> str | None:
    """The candidate whose last request is the longest ago."""
    return min(candidates, key=lambda candidate: candidate.used).model if candidates else None


def first_loaded(candidates: Sequence[Candidate]) -> str | None:
    """The candidate that was loaded first, however much it is used."""
    return min(candidates, key=lambda candidate: candidate.loaded).model if candidates else None


def least_frequently_used(candidates: Sequence[Candidate]) -> str | None:
    """The candidate with the fewest requests since it was loaded; among equals the least recently used."""
    if not candidates:
        return None
    return min(candidates, key=lambda candidate: (candidate.requests, candidate.used)).model


POLICIES: Mapping[str, Policy] = {
    "lru": least_recently_used,
    "fifo": first_loaded,
    "lfu": least_frequently_used,
}
