"""Which model was evicted when another needed the room, how often, and how many models fit."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import (
    LOADED,
    SAME_MOMENT_S,
    Loads,
    Span,
    by_instance,
    decided_s,
    evictions,
    hosted,
    moves,
    requests,
)
from pytest_mme.timeline.residency import DEATHS, ONE_DEATH_S, Stay, stays
from pytest_mme.timeline.wording import Named, counted, listed, some, when

_NOT_ADMITTED = ("429", "ModelNotReady", "ValidationError")
"""What the outcome of a request has in it that never reached its model. Source: SageMaker's InvokeEndpoint."""


@fails_at_the_call
def check_evictions(
    events: Iterable[Event], *, at_most: int | None = None, at_least: int | None = None, soft: bool = False
) -> None:
    """Fail unless the number of evictions is within the bounds. Raises ValueError when neither is given.

    Seen by: the platform, which evicts.
    Reads: `evict` events with the outcome `ok`; `invoke` and `attempt` events.
    Nothing to judge: no request succeeded; bounds that every number, or none, is within.
    Cannot see: unloads that the test itself asked for: those are no evictions.
    """
    if at_most is None and at_least is None:
        raise ValueError("check_evictions: give at_most=, at_least=, or both")
    with softly(soft):
        events = list(events)
        if at_least is not None and at_least < 1 and at_most is None:
            raise AssertionError(f"at_least={at_least} judges nothing: ask for 1 or more, or give at_most=")
        if at_least is not None and at_most is not None and at_least > at_most:
            raise AssertionError(f"no number is at least {at_least} and at most {at_most}")
        if not any(request.outcome == "ok" for request in requests(events)):
            raise AssertionError("no request that succeeded was recorded, so there is nothing to judge")
        evicted = evictions(events)
        if at_most is not None and len(evicted) > at_most:
            raise AssertionError(
                f"{counted(len(evicted), 'eviction')}, and at most {at_most} may be: {some(evicted, when)}"
            )
        if at_least is not None and len(evicted) < at_least:
            raise AssertionError(
                f"{counted(len(evicted), 'eviction')}, and at least {at_least} must be: {some(evicted, when) or 'none'}"
            )


@fails_at_the_call
def check_lru(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the least recently used model: the one whose last request began or ended first.

    A model with a request under way is never to be evicted. A model counts from its last request, or else from its load.

    Seen by: the platform; where only callers saw the requests, moments less than 5 ms apart have no order.
    Reads: `evict`, `load` and `attempt` events, or else `invoke`, and those that report a model gone.
    Nothing to judge: no eviction had a choice of two idle models or more.
    Cannot see: which instance a request went to, where its event names none.
    """
    _check_policy(events, lambda model: (model.used_s,), "the least recently used", soft=soft)


@fails_at_the_call
def check_fifo(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the model that was loaded first.

    A model with a request under way is never to be evicted.

    Seen by: the platform; loads that end less than 5 ms apart have no order.
    Reads: `evict`, `load` and `attempt` events, or else `invoke`, and those that report a model gone.
    Nothing to judge: no eviction had a choice of two idle models or more.
    Cannot see: which instance a request went to, where its event names none.
    """
    _check_policy(events, lambda model: (model.loaded_s,), "the one that was loaded first", soft=soft, exact=False)


@fails_at_the_call
def check_lfu(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless each eviction took the model with the fewest requests since its load; of several, the least recently used.

    A model with a request under way is never to be evicted.

    Seen by: the platform; where only callers saw the requests, moments less than 5 ms apart have no order.
    Reads: `evict`, `load` and `attempt` events, or else `invoke`, and those that report a model gone.
    Nothing to judge: no eviction had a choice of two idle models or more.
    Cannot see: which instance a request went to, where its event names none.
    """
    _check_policy(events, lambda model: (model.requests, model.used_s), "the least frequently used", soft=soft)


@fails_at_the_call
def check_capacity(events: Iterable[Event], n: int, *, soft: bool = False) -> None:
    """Fail unless *n* models, no more and no fewer, fit into the memory of an instance.

    On no instance were more than *n* in memory at once; on one at least there were *n*, and one had to go for another; and
    none had to go while there were fewer. A model that is being loaded takes its room already, and so does one for which
    another went.

    Seen by: the platform, or else the client that loads and unloads, or else the server.
    Reads: `load`, `evict` and `unload` events, and those that report a model gone.
    Nothing to judge: no load was recorded, or no model had to go.
    Cannot see: that models are of different sizes: then no number of them is what fits.
    """
    with softly(soft):
        instances = [_Instance.of(one) for one in by_instance(events)]
        if not any(one.stays for one in instances):
            raise AssertionError("no load was recorded, so there is nothing to judge")
        at_least, at_most = (max((one.fullest(surely) for one in instances), key=len) for surely in (True, False))
        if len(at_least) > n or len(at_most) < n:
            wrong = at_least if len(at_least) > n else at_most
            raise AssertionError(f"{len(wrong)} models were in memory at once, not {n}: {listed(wrong)}")
        decided = [(eviction, one.occupying(eviction)) for one in instances for eviction in one.evictions]
        if not decided:
            raise AssertionError(f"no model had to go while {n} were in memory: whether one more fits was not tried")
        if shrunk := [(eviction, there) for eviction, there in decided if len(there) < n]:
            eviction, there = shrunk[0]
            raise AssertionError(
                f"at {decided_s(eviction):.2f} s {eviction.model} had to go while {len(there)} of {n} were in memory: "
                f"{listed(sorted(there))}"
            )


@fails_at_the_call
def check_no_thrash(events: Iterable[Event], *models: Named | str, hit_ratio: float = 0.9, soft: bool = False) -> None:
    """Fail unless a share *hit_ratio* of the requests, to *models* or to all, found their model in memory.

    The first request to a model, which cannot find it there, counts as well; a request that failed is not a hit. The tries
    of one call are one request.

    Seen by: the callers; loads by the platform, or else the client that asked, or else the server.
    Reads: `invoke`, `attempt` and `load` events.
    Nothing to judge: no request succeeded, or no load was recorded.
    Cannot see: a load that ended before the request's own clock saw it begin.
    """
    with softly(soft):
        events = list(events)
        judged, loads = requests(events, models), Loads(events)
        if not loads or not any(event.outcome == "ok" for event in judged):
            missing = "request that succeeded" if loads else "load"
            raise AssertionError(f"no {missing} was recorded, so there is nothing to judge")
        missed = Counter(event.model for event in judged if event.outcome != "ok" or loads.waited_for(event))
        ratio = 1 - missed.total() / len(judged)
        if ratio < hit_ratio:
            most = some(missed.most_common(), lambda one: f"{one[0]} {one[1]}")
            raise AssertionError(
                f"{ratio:.0%} of {len(judged)} requests found their model in memory, and {hit_ratio:.0%} must; "
                f"requests that waited for a load, or failed: {most}"
            )


# What was in memory, and what a policy could know of it


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model in memory when an eviction was decided; moments in seconds of the timeline."""

    loaded_s: float
    used_s: float
    """When its last request began or ended."""
    requests: int
    """How many requests it had since its load."""


@dataclasses.dataclass(frozen=True)
class _Instance:
    """One instance: which models were in its memory when, and when each had requests."""

    stays: Sequence[Stay]
    uses: Mapping[str, Sequence[Span]]
    """When each model had a request, in order."""
    evictions: Sequence[Event]
    loads: Sequence[Event]
    exact: bool
    """Whether the platform recorded when it let each request to its model."""

    @classmethod
    def of(cls, events: Sequence[Event]) -> _Instance:
        seen, loads = hosted(events), Loads(events)
        uses: defaultdict[str, list[Span]] = defaultdict(list)
        for request in seen:
            uses[request.model or ""] += _uses(request, loads)
        return cls(
            stays=stays(events),
            uses={model: sorted(spans) for model, spans in uses.items()},
            evictions=evictions(events),
            loads=moves(events, "load"),
            exact=any("used_s" in request.detail for request in seen),
        )

    def fullest(self, surely: bool) -> list[str]:
        """The models that took room at once when most did.

        *surely*: a model took it when its load had ended, and was gone before its death was reported.
        """
        spans = [
            (stay.came_s, stay.left_s - _reported_late(stay), stay.model)
            if surely
            else (self._began_s(stay), stay.left_s, stay.model)
            for stay in self.stays
        ]
        there_for = [span for span in spans if span[0] < span[1]]
        changed = sorted(
            [(came_s, True, model) for came_s, _, model in there_for]
            + [(left_s, False, model) for _, left_s, model in there_for]
        )
        there: dict[str, None] = {}
        most: list[str] = []
        for _, comes, model in changed:
            if comes:
                there[model] = None
                most = max(most, list(there), key=len)
            else:
                there.pop(model, None)
        return most

    def _began_s(self, stay: Stay) -> float:
        """When the load had surely begun that brought a model into memory."""
        began_s = (load.began_s for load in self.loads if load.model == stay.model and load.at_s == stay.came_s)
        return min(stay.came_s, min(began_s, default=stay.came_s) + SAME_MOMENT_S)

    def occupying(self, eviction: Event) -> set[str]:
        """The models that took room, as far as that can be, when an eviction was decided."""
        at_s, room_for = decided_s(eviction), eviction.detail.get("room_for")
        left_s = at_s - (0.0 if self.exact else SAME_MOMENT_S)
        there = {one.model for one in self.stays if one.came_s - SAME_MOMENT_S <= at_s and left_s < one.left_s}
        coming = {
            str(load.model)
            for load in self.loads
            if load.outcome in LOADED and load.began_s - SAME_MOMENT_S <= at_s <= load.at_s
        }
        reserved = {
            str(earlier.detail["room_for"])
            for earlier in self.evictions
            if decided_s(earlier) < at_s and "room_for" in earlier.detail
            if not any(self._tried(earlier.detail["room_for"], earlier.at_s, at_s))
        }
        return there | coming | (reserved - {room_for})

    def _tried(self, model: str, since_s: float, at_s: float) -> Iterator[bool]:
        """Whether a model's loads ended in that time: it came, or there was no room for it after all."""
        return (load.model == model and since_s <= load.at_s <= at_s for load in self.loads)

    def resident(self, eviction: Event) -> dict[str, _Model]:
        """The models that were surely in memory, and not on their way out, when an eviction was decided."""
        at_s = decided_s(eviction)
        going = {one.model for one in self.evictions if one is not eviction and decided_s(one) <= at_s <= one.at_s}
        return {
            stay.model: self._model(stay, at_s)
            for stay in self.stays
            if (
                stay.came_s < at_s <= stay.left_s
                if stay.model == eviction.model
                else stay.came_s + SAME_MOMENT_S < at_s < stay.left_s - SAME_MOMENT_S and stay.model not in going
            )
        }

    def _model(self, stay: Stay, at_s: float) -> _Model:
        had = [span for span in self.uses.get(stay.model, ()) if stay.came_s <= span[1] and span[0] <= at_s]
        before = self._before(stay)
        loaded_s = before.get("loaded_s", stay.came_s)
        used_s = max((one for span in had for one in span if one <= at_s), default=before.get("last_used_s", loaded_s))
        return _Model(loaded_s, max(loaded_s, used_s), len(had) + before.get("requests", 0))

    def _before(self, stay: Stay) -> Mapping[str, Any]:
        """What the load says of a model that was in memory before the test began, on a server that tests share."""
        its = (load.detail for load in self.loads if load.model == stay.model and load.at_s == stay.came_s)
        return next((detail for detail in its if "last_used_s" in detail), {})

    def is_busy(self, model: str, at_s: float, *, perhaps: bool) -> bool:
        """Whether a model had a request under way at a moment: *perhaps*, or surely."""
        room_s = 0.0 if self.exact else SAME_MOMENT_S if perhaps else -SAME_MOMENT_S
        return any(began_s - room_s < at_s < ended_s + room_s for began_s, ended_s in self.uses.get(model, ()))


def _uses(request: Event, loads: Loads) -> list[Span]:
    """When a request was with its model: as the platform recorded it, or else from the load on for which it waited."""
    if "used_s" in request.detail:
        moments = list(request.detail["used_s"])
        return list(zip(moments[::2], [*moments[1::2], request.at_s], strict=False))
    if any(word in request.outcome for word in _NOT_ADMITTED):
        return []
    loaded_s = loads.last(request.server, request.model, request.began_s, request.at_s)
    return [(request.began_s if loaded_s is None else loaded_s, request.at_s)]


def _reported_late(stay: Stay) -> float:
    return ONE_DEATH_S if stay.left is not None and stay.left.kind in DEATHS else 0.0


def _check_policy(
    events: Iterable[Event],
    key: Callable[[_Model], tuple[float, ...]],
    what: str,
    *,
    soft: bool,
    exact: bool = True,
) -> None:
    with softly(soft):
        instances = map(_Instance.of, by_instance(events))
        verdicts = [_verdict(one, eviction, key, what, exact) for one in instances for eviction in one.evictions]
        judged = [verdict for verdict in verdicts if verdict is not None]
        if not judged:
            raise AssertionError("no eviction had a choice of two models or more, so there is nothing to judge")
        if wrong := [verdict for verdict in judged if verdict]:
            raise AssertionError(
                f"{len(wrong)} of {counted(len(judged), 'eviction')}: {some(wrong, str, between='; ')}"
            )


def _verdict(
    instance: _Instance, eviction: Event, key: Callable[[_Model], tuple[float, ...]], what: str, exact: bool
) -> str | None:
    """What was wrong with an eviction; empty when nothing was, None when there was no choice."""
    at_s, there, victim = decided_s(eviction), instance.resident(eviction), eviction.model or ""
    if victim not in there:
        return None
    if instance.is_busy(victim, at_s, perhaps=False):
        return f"at {at_s:.2f} s {victim} went while it had a request"
    idle = [name for name in there if name != victim and not instance.is_busy(name, at_s, perhaps=True)]
    if not idle:
        return None
    right = min(idle, key=lambda name: key(there[name]))
    *counts, moment_s = key(there[right])
    room_s = 0.0 if exact and instance.exact else SAME_MOMENT_S
    return (
        f"at {at_s:.2f} s {victim} went, and {what} was {right}"
        if (*counts, moment_s + room_s) < key(there[victim])
        else ""
    )
