"""What was observed of requests and moves: several observers report the same one, and one of them is believed.

Each server is read by itself: the kit's own calls may be known of one, and of another only what boto3 clients did.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from pytest_mme.timeline.events import Event, Kind, Source
from pytest_mme.timeline.wording import Named, name_of

LOADED = ("ok", "409")
"""The outcomes of a load after which the model is in memory."""
Span = tuple[float, float]
"""When something began and when it ended, in seconds of the timeline."""
_View = Callable[[Sequence[Event]], list[Event]]
_PLATFORM: tuple[Source, ...] = ("hosting", "client", "server")


def by_server(events: Iterable[Event]) -> list[list[Event]]:
    """The events of each server or endpoint; two of them may serve models of one name."""
    found: defaultdict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        found[event.server].append(event)
    return list(found.values())


def requests(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests to *models*, or to all, as their callers saw them: the kit's own calls, and those of boto3 clients."""
    return _of_each(events, models, _as_callers_saw)


def served(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests to *models*, or to all, as the server saw them, or else the platform, or else their callers."""
    return _of_each(events, models, lambda one: _invokes(one, "server") or hosted(one))


def hosted(events: Iterable[Event]) -> list[Event]:
    """The requests to one server as the platform saw them, or else their callers."""
    events = list(events)
    return [event for event in events if event.kind == "attempt"] or _as_callers_saw(events)


def _of_each(events: Iterable[Event], models: Collection[Named | str], view: _View) -> list[Event]:
    names = {name_of(model) for model in models}
    seen = [event for one in by_server(events) for event in view(one) if not names or event.model in names]
    return sorted(seen, key=lambda event: event.at_s)


def _as_callers_saw(events: Sequence[Event]) -> list[Event]:
    ours = _invokes(events, "test", "client")
    calls = _Times(ours)
    theirs = [event for event in events if event.kind == "attempt" and not calls.include(event)]
    return [*ours, *theirs] or _invokes(events, "server")


def _invokes(events: Iterable[Event], *sources: Source) -> list[Event]:
    return [event for event in events if event.kind == "invoke" and event.source in sources]


class _Times:
    """When calls of the kit to each model went on: an attempt of boto3 in such a time is part of a call."""

    def __init__(self, calls: Iterable[Event]) -> None:
        spans: defaultdict[str | None, list[Span]] = defaultdict(list)
        for call in calls:
            spans[call.model].append((call.began_s, call.at_s))
        self._times = {model: joined(times) for model, times in spans.items()}

    def include(self, attempt: Event) -> bool:
        times = self._times.get(attempt.model, [])
        last = bisect.bisect_right(times, (attempt.began_s, math.inf)) - 1
        return last >= 0 and attempt.at_s <= times[last][1]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same times in order, those that overlap or touch as one."""
    found: list[Span] = []
    for began_s, ended_s in sorted(spans):
        if found and began_s <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], ended_s)
        else:
            found.append((began_s, ended_s))
    return found


def evictions(events: Iterable[Event]) -> list[Event]:
    """The evictions that were carried out."""
    return [event for event in events if event.kind == "evict" and event.outcome == "ok"]


def moves(events: Iterable[Event], *kinds: Kind) -> list[Event]:
    """Downloads, loads, unloads or evictions as the platform saw them, or else the client that asked, or else the server."""
    found: list[Event] = []
    for one in by_server(event for event in events if event.kind in kinds):
        seen_by = next((source for source in _PLATFORM if any(event.source == source for event in one)), None)
        found += [event for event in one if event.source == seen_by]
    return sorted(found, key=lambda event: event.at_s)


class Loads:
    """When models had been loaded."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._ends: defaultdict[tuple[str | None, str | None], list[float]] = defaultdict(list)
        for event in moves(events, "load"):
            if event.outcome in LOADED:
                self._ends[event.server, event.model].append(event.at_s)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def waited_for(self, request: Event) -> bool:
        """Whether the model was loaded while *request* was under way, so that it was not in memory when the request came."""
        return self.ended(request.server, request.model, request.began_s, request.at_s)

    def ended(self, server: str | None, model: str | None, began_s: float, at_s: float) -> bool:
        """Whether a load of *model* on *server* ended in that time."""
        ends = self._ends.get((server, model), [])
        first = bisect.bisect_left(ends, began_s)
        return first < len(ends) and ends[first] <= at_s
