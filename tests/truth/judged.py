"""Every check beside the verdict that it must come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from pytest_mme import checks
from pytest_mme.timeline.events import Event
from tests.truth import verdicts
from tests.truth.observer import Recording
from tests.truth.verdicts import Verdict
from tests.truth.world import World

_WITHIN_S = 3.0
_TIMES = 3.0


class Judged(NamedTuple):
    """A check with its arguments, and the truth of what it claims."""

    name: str
    truth: Callable[[World], Verdict]
    check: Callable[[Sequence[Event]], None]


def passes(check: Callable[[Sequence[Event]], None], events: Sequence[Event]) -> tuple[bool, str]:
    """Whether a check passes, and what it says when it does not."""
    try:
        check(events)
    except AssertionError as error:
        return False, str(error)
    return True, ""


def judged(names: Sequence[str], room: int, how: Recording) -> Iterator[Judged]:
    """All checks of a world with models of these names, and room for some of them."""
    first, second, *_ = names
    yield Judged("answers", verdicts.answers, checks.check_answers)
    for number in (1, 2, 3):
        concurrent = partial(verdicts.concurrent, at_least=number, how=how)
        yield Judged(f"concurrent {number}", concurrent, partial(checks.check_concurrent, at_least=number))
    yield Judged("loads once", verdicts.loads_once, checks.check_loads_once)
    yield Judged("drained", verdicts.drained, checks.check_drained)
    yield Judged("evictions", partial(verdicts.evictions, at_most=2), partial(checks.check_evictions, at_most=2))
    yield Judged("lru", partial(verdicts.policy, which="lru"), checks.check_lru)
    yield Judged("fifo", partial(verdicts.policy, which="fifo"), checks.check_fifo)
    yield Judged("lfu", partial(verdicts.policy, which="lfu"), checks.check_lfu)
    yield Judged("capacity", partial(verdicts.capacity, n=room, how=how), partial(checks.check_capacity, n=room))
    yield Judged(
        "no thrash", partial(verdicts.no_thrash, hit_ratio=0.5), partial(checks.check_no_thrash, hit_ratio=0.5)
    )
    recovers = partial(verdicts.recovers, within_s=_WITHIN_S)
    yield Judged("recovers", recovers, partial(checks.check_recovers, within_s=_WITHIN_S))
    isolated = partial(verdicts.isolated, good=first, bad=second)
    yield Judged("isolated", isolated, partial(checks.check_isolated, good=first, bad=second))
    stall = partial(verdicts.no_stall, of=second, factor=_TIMES)
    yield Judged("no stall", stall, partial(checks.check_no_stall, of=second, factor=_TIMES))
    fair = partial(verdicts.fair, hog=first, max_ratio=_TIMES)
    yield Judged("fair", fair, partial(checks.check_fair, hog=first, max_ratio=_TIMES))
    for name in names:
        yield Judged(f"evicted {name}", partial(verdicts.evicted, model=name), partial(_of, checks.check_evicted, name))
        yield Judged(
            f"resident {name}", partial(verdicts.resident, model=name), partial(_of, checks.check_resident, name)
        )


def _of(check: Callable[..., None], name: str, events: Sequence[Event]) -> None:
    check(events, name)
