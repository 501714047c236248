"""Memory in use over rounds of loads and unloads."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import SAME_MOMENT_S, by_instance, moves
from pytest_mme.timeline.residency import changes
from pytest_mme.timeline.wording import listed

_MIB = 1 << 20
_WARM_UP = 3
"""The share of the rounds, one in so many, in which memory may rise: allocators and thread pools grow at first."""
_Z_95 = 1.645
"""The 95 % quantile of the normal distribution."""
_FEW = 4
"""With fewer rounds than this there is no confidence to speak of; then a rise below 1 % of the memory is noise."""
_FEW_SHARE = 0.01


@fails_at_the_call
def check_memory_bounded(
    events: Iterable[Event], *, cycles: int, tolerance_mib: float = 0.25, soft: bool = False
) -> None:
    """Fail if memory rises by more than *tolerance_mib* MiB a round, over at least *cycles* rounds of the same models.

    A round ends with an unload; its mark is the highest use of memory while its models were in memory. Rounds with the
    same models in memory are compared with each other. The first third of them may warm up; of the rest the slope is the
    median of the slopes between any two (Theil and Sen), and it fails when that is more with 95 % confidence (Kendall).
    How much an unload frees is not judged: a server that holds all models in one process frees little.

    Seen by: the server or the engine, whoever samples memory.
    Reads: `sample` events with `used_bytes`, `load` and `unload` events.
    Nothing to judge: fewer than *cycles* such rounds with a sample of their own. Raises ValueError for *cycles* below 3.
    Cannot see: a leak slower than its noise in so few rounds; memory that rises in a few large steps.
    """
    if cycles < 3:
        raise ValueError(f"cycles={cycles}: give 3 or more, since the first may warm up")
    with softly(soft):
        instances = [_comparable(instance) for instance in by_instance(events)]
        judged = [groups for groups in instances if sum(map(len, groups)) >= cycles]
        if not judged:
            most = max((sum(map(len, groups)) for groups in instances), default=0)
            raise AssertionError(
                f"{most} rounds with a measurement and an unload can be compared with another of the same models, "
                f"and {cycles} must be"
            )
        for groups in judged:
            slope = _slope([group[len(group) // _WARM_UP :] for group in groups])
            if slope.is_more_than(tolerance_mib * _MIB):
                marks = sorted(mark for group in groups for mark in group)
                shown = ", ".join(f"{mark.bytes / _MIB:.1f}" for mark in marks)
                raise AssertionError(
                    f"memory rises by {slope.bytes / _MIB:.2f} MiB a round ({slope.least_bytes / _MIB:.2f} or more with "
                    f"95 % confidence) over {len(marks)} rounds of {listed(groups[0][0].models)}; "
                    f"{tolerance_mib:g} MiB may be: {shown}"
                )


@dataclasses.dataclass(frozen=True, order=True)
class _Mark:
    """The highest use of memory in a round."""

    number: int
    """The number of the round."""
    bytes: int
    models: tuple[str, ...]
    """The models that were in memory."""


def _comparable(events: Sequence[Event]) -> list[list[_Mark]]:
    """The marks of one instance, those of the same models together, where there are three or more."""
    groups: defaultdict[tuple[str, ...], list[_Mark]] = defaultdict(list)
    for mark in _marks(events):
        groups[mark.models].append(mark)
    return [group for group in groups.values() if len(group) > 2]


def _marks(events: Sequence[Event]) -> Iterator[_Mark]:
    """The mark of each round that has a sample of its own, taken while a model of it was in memory."""
    changed = [(change.event.at_s, change.model, change.resident) for change in changes(events)]
    loading = [event.began_s for event in moves(events, "load")]
    samples = [
        event
        for event in events
        if event.kind == "sample" and "used_bytes" in event.detail and event.detail.get("resident") != 0
    ]
    ends = [event for event in moves(events, "unload") if event.outcome == "ok"]
    since_s = -math.inf
    for number, end in enumerate(ends):
        first_load_s = min((at_s for at_s in loading if since_s <= at_s < end.at_s), default=since_s)
        there = {model: resident for at_s, model, resident in changed if at_s < end.at_s}
        models = {model for model, resident in there.items() if resident} | {end.model or ""}
        others = len(models) > 1
        from_s = since_s if others else first_load_s - SAME_MOMENT_S  # before that it is what the last round has left
        inside = [int(one.detail["used_bytes"]) for one in samples if from_s <= one.at_s <= end.at_s]
        if inside:
            yield _Mark(number, max(inside), tuple(sorted(models)))
        since_s = end.at_s


@dataclasses.dataclass(frozen=True)
class _Slope:
    """How fast memory rises, in bytes a round."""

    bytes: float
    least_bytes: float
    """With 95 % confidence it is this or more."""
    noise_bytes: float
    """What may be noise."""

    def is_more_than(self, tolerated: float) -> bool:
        return self.least_bytes > max(tolerated, self.noise_bytes)


def _slope(groups: Sequence[Sequence[_Mark]]) -> _Slope:
    """The seasonal Kendall slope: pairs are taken within groups. Source: Hirsch, Slack and Smith (1982)."""
    slopes = sorted(
        (later.bytes - earlier.bytes) / (later.number - earlier.number)
        for group in groups
        for earlier, later in itertools.combinations(group, 2)
    )
    sizes = list(map(len, groups))
    deviation = math.sqrt(sum(size * (size - 1) * (2 * size + 5) for size in sizes) / 18)
    lower = max(0, math.floor((len(slopes) - _Z_95 * deviation) / 2) - 1)
    highest = max(mark.bytes for group in groups for mark in group)
    noise = _FEW_SHARE * highest if max(sizes) < _FEW else 0.0
    return _Slope(statistics.median(slopes), slopes[lower], noise)
