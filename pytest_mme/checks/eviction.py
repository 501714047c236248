"""Which model was evicted when another needed the room, how often, and how many models fit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import Loads, by_server, evictions, hosted, requests
from pytest_mme.timeline.residency import changes
from pytest_mme.timeline.wording import Named, counted, listed

_SHOWN = 5


@fails_at_the_call
def check_evictions(
    events: Iterable[Event], *, at_most: int | None = None, at_least: int | None = None, soft: bool = False
) -> None:
    """Fail unless the number of evictions is within the bounds. Raises ValueError when neither is given."""
    if at_most is None and at_least is None:
        raise ValueError("check_evictions: give at_most=, at_least=, or both")
    with softly(soft):
        events = list(events)
        if not requests(events):
            raise AssertionError("no request was recorded, so there is nothing to judge")
        evicted = evictions(events)
        if at_most is not None and len(evicted) > at_most:
            raise AssertionError(
                f"{counted(len(evicted), 'eviction')}, and at most {at_most} may be: {_shown(evicted)}"
            )
        if at_least is not None and len(evicted) < at_least:
            raise AssertionError(
                f"{counted(len(evicted), 'eviction')}, and at least {at_least} must be: {_shown(evicted)}"
            )


@fails_at_the_call
def check_lru(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the least recently used model: the one whose last request began or ended first."""
    _check_policy(events, lambda model: model.used_s, "the least recently used", soft=soft)


@fails_at_the_call
def check_fifo(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the model that was loaded first."""
    _check_policy(events, lambda model: model.loaded_s, "the one that was loaded first", soft=soft)


@fails_at_the_call
def check_lfu(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the model with the fewest requests since its load; of several, the least recently used."""
    _check_policy(events, lambda model: (model.requests, model.used_s), "the least frequently used", soft=soft)


@fails_at_the_call
def check_capacity(events: Iterable[Event], n: int, *, soft: bool = False) -> None:
    """Fail unless *n* models were in memory at once when most were, and with *n* in memory one had to go for another."""
    with softly(soft):
        steps = _steps(events)
        fullest = max((step.resident for step in steps), key=len, default={})
        if not fullest:
            raise AssertionError("no load was recorded, so there is nothing to judge")
        if len(fullest) != n:
            raise AssertionError(f"{len(fullest)} models were in memory at once, not {n}: {listed(fullest)}")
        if not any(step.eviction and len(step.resident) == n for step in steps):
            raise AssertionError(f"no model had to go while {n} were in memory: whether one more fits was not tried")


@fails_at_the_call
def check_no_thrash(events: Iterable[Event], *models: Named | str, hit_ratio: float = 0.9, soft: bool = False) -> None:
    """Fail unless a share *hit_ratio* of the requests, to *models* or to all, found their model in memory.

    The first request to a model, which cannot find it there, counts as well; a request that failed is not a hit.
    """
    with softly(soft):
        events = list(events)
        judged, loads = requests(events, models), Loads(events)
        if not judged or not loads:
            raise AssertionError(f"no {'load' if judged else 'request'} was recorded, so there is nothing to judge")
        missed = Counter(event.model for event in judged if event.outcome != "ok" or loads.waited_for(event))
        ratio = 1 - missed.total() / len(judged)
        if ratio < hit_ratio:
            most = ", ".join(f"{name} {count}" for name, count in missed.most_common(_SHOWN))
            raise AssertionError(
                f"{ratio:.0%} of {len(judged)} requests found their model in memory, and {hit_ratio:.0%} must; "
                f"requests that waited for a load, or failed: {most}"
            )


def _shown(evicted: Sequence[Event]) -> str:
    shown = ", ".join(f"{event.model} at {event.at_s:.2f} s" for event in evicted[:_SHOWN])
    return (shown or "none") + (f" and {len(evicted) - _SHOWN} more" if len(evicted) > _SHOWN else "")


# What was in memory, and what a policy could know of it


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model in memory; moments in seconds of the timeline."""

    loaded_s: float
    used_s: float
    """When its last request began or ended."""
    requests: int = 0


@dataclasses.dataclass(frozen=True)
class _Step:
    """What was in memory after a load, or when an eviction was decided."""

    resident: Mapping[str, _Model]
    eviction: Event | None = None
    idle: frozenset[str] = frozenset()
    """The models that could be evicted: those without a request under way."""


def _check_policy(events: Iterable[Event], key: Callable[[_Model], Any], what: str, *, soft: bool) -> None:
    with softly(soft):
        judged, wrong = 0, []
        for step in _steps(events):
            eviction = step.eviction
            if eviction is None or eviction.model not in step.idle or len(step.idle) == 1:
                continue
            judged += 1
            right = min(step.idle, key=lambda name, step=step: key(step.resident[name]))  # type: ignore[misc]
            if key(step.resident[right]) < key(step.resident[eviction.model]):
                wrong.append(f"at {eviction.began_s:.2f} s {eviction.model} went, and {what} was {right}")
        if not judged:
            raise AssertionError("no eviction had a choice of two models or more, so there is nothing to judge")
        if wrong:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise AssertionError(f"{len(wrong)} of {counted(judged, 'eviction')}: {'; '.join(wrong[:_SHOWN])}{more}")


def _steps(events: Iterable[Event]) -> list[_Step]:
    return [step for server in by_server(events) for step in _replayed(server)]


def _replayed(events: Sequence[Event]) -> Iterator[_Step]:
    """Follow the models of one server in and out of memory, and their requests, in the order of time."""
    resident: dict[str, _Model] = {}
    leaving: set[str] = set()
    under_way: Counter[str] = Counter()
    for at_s, what, name, event in sorted(_moments(events), key=lambda one: one[0]):
        model = resident.get(name)
        if what == "came":
            leaving.discard(name)
            resident[name] = _Model(loaded_s=at_s, used_s=at_s)
            yield _Step(dict(resident))
        elif what == "left":
            del resident[name]
        elif what == "decided":
            idle = frozenset(one for one in resident if not under_way[one] and one not in leaving)
            leaving.add(name)
            yield _Step(dict(resident), event, idle)
        else:
            under_way[name] += 1 if what == "began" else -1
            if model is not None:
                counts = what == "began" or event.began_s < model.loaded_s  # one that waited for the load, too
                resident[name] = _Model(model.loaded_s, at_s, model.requests + counts)


def _moments(events: Sequence[Event]) -> Iterator[tuple[float, str, str, Event]]:
    """When requests began and ended, evictions were decided, and models came into memory and left it."""
    for event in hosted(events):  # by whose clock the platform chooses
        yield event.began_s, "began", event.model or "", event
        yield event.at_s, "ended", event.model or "", event
    for event in evictions(events):
        yield event.began_s, "decided", event.model or "", event
    for change in changes(events):
        yield change.event.at_s, "came" if change.resident else "left", change.model, change.event
