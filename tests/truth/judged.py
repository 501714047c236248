"""Every check beside the verdict that it must come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pytest_mme import checks
from pytest_mme.timeline.events import Event
from tests.truth import verdicts
from tests.truth.observer import Recording
from tests.truth.verdicts import Verdict
from tests.truth.world import World

_WITHIN_S = 3.0
_TIMES = 3.0


def passes(check: Callable[[Sequence[Event]], None], events: Sequence[Event]) -> tuple[bool, str]:
    """Whether a check passes, and what it says when it does not."""
    try:
        check(events)
    except AssertionError as error:
        return False, str(error)
    return True, ""


def judged(world: World, how: Recording) -> Iterator[tuple[str, Verdict, Callable[[Sequence[Event]], None]]]:
    """The name of each judgement, the truth, and the check."""
    names = [model.name for model in world.setting.models]
    room = world.setting.room
    yield "answers", verdicts.answers(world), checks.check_answers
    for k in (1, 2, 3):
        yield (
            f"concurrent {k}",
            verdicts.concurrent(world, k, how),
            partial(checks.check_concurrent, at_least=k),
        )
    yield "loads once", verdicts.loads_once(world), checks.check_loads_once
    yield "drained", verdicts.drained(world), checks.check_drained
    yield "evictions", verdicts.evictions(world, 2), partial(checks.check_evictions, at_most=2)
    yield "lru", verdicts.policy(world, "lru"), checks.check_lru
    yield "fifo", verdicts.policy(world, "fifo"), checks.check_fifo
    yield "lfu", verdicts.policy(world, "lfu"), checks.check_lfu
    yield "capacity", verdicts.capacity(world, room, how), partial(checks.check_capacity, n=room)
    yield "no thrash", verdicts.no_thrash(world, 0.5), partial(checks.check_no_thrash, hit_ratio=0.5)
    yield "recovers", verdicts.recovers(world, _WITHIN_S), partial(checks.check_recovers, within_s=_WITHIN_S)
    yield (
        "isolated",
        verdicts.isolated(world, names[0], names[1]),
        partial(checks.check_isolated, good=names[0], bad=names[1]),
    )
    yield (
        "no stall",
        verdicts.no_stall(world, names[0], _TIMES),
        partial(checks.check_no_stall, of=names[0], factor=_TIMES),
    )
    yield "fair", verdicts.fair(world, names[0], _TIMES), partial(checks.check_fair, hog=names[0], max_ratio=_TIMES)
    for name in names:
        yield (
            f"evicted {name}",
            verdicts.evicted(world, name),
            lambda events, name=name: checks.check_evicted(events, name),
        )
        yield (
            f"resident {name}",
            verdicts.resident(world, name),
            lambda events, name=name: checks.check_resident(events, name),
        )
