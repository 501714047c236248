"""Which models were in memory, and when: the one replay of a server's events that checks and reports share."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_mme.timeline.events import Event, Kind
from pytest_mme.timeline.observed import LOADED, moves, requests

DEATHS: tuple[Kind, ...] = ("crash", "oom")
"""The kinds of events that report that a process with models has ended."""
_REMOVALS: tuple[Kind, ...] = ("unload", "evict")
ONE_DEATH_S = 1.0
"""How far apart two observers may report the same death, in seconds."""
_UNLOADED = ("ok", "cut off")
"""The outcomes of an unload or an eviction after which the model is not in memory."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A model came into memory (`resident`) or left it, by what `event` reported."""

    model: str
    event: Event
    resident: bool


@dataclasses.dataclass(frozen=True)
class Stay:
    """A model was in memory; moments in seconds of the timeline."""

    model: str
    came_s: float
    left: Event | None = None
    """The first event that reported it gone; None when it was in memory at the end."""

    @property
    def left_s(self) -> float:
        """When it left; infinite when it was in memory at the end."""
        return math.inf if self.left is None else self.left.at_s


def changes(events: Iterable[Event]) -> Iterator[Change]:
    """Follow the models of one server in and out of memory, in the order of time; at one moment, first out, then in.

    A load of a model in memory changes nothing, nor does a second report that it has left: an eviction and the unload
    that carries it out report the same move, and several observers report one death.
    """
    events = list(events)
    loads = [event for event in moves(events, "load") if event.outcome in LOADED]
    resident: dict[str, None] = {}
    moments = [*((event, False) for event in departures(events)), *((event, True) for event in loads)]
    for event, comes in sorted(moments, key=lambda moment: (moment[0].at_s, moment[1])):
        concerned = list(resident) if event.model is None else [event.model]
        for model in concerned:
            if (model in resident) is not comes:
                yield Change(model, event, comes)
                if comes:
                    resident[model] = None
                else:
                    del resident[model]


def stays(events: Iterable[Event]) -> list[Stay]:
    """Each time that a model of one server was in memory, in the order in which they came."""
    found: dict[str, Stay] = {}
    ended: list[Stay] = []
    for change in changes(events):
        if change.resident:
            found[change.model] = Stay(change.model, change.event.at_s)
        else:
            ended.append(dataclasses.replace(found.pop(change.model), left=change.event))
    return sorted([*ended, *found.values()], key=lambda stay: stay.came_s)


def departures(events: Iterable[Event]) -> list[Event]:
    """The events of one server that reported a model, or all at once, to have left memory; one move may have several."""
    events = list(events)
    removals = [event for kind in _REMOVALS for event in moves(events, kind) if event.outcome in _UNLOADED]
    ends = [event for event in events if event.kind not in DEATHS and empties(event)]
    found = [event for event in (*removals, *deaths(events)) if event.model is not None or empties(event)]
    return sorted([*found, *ends], key=lambda event: event.at_s)


def deaths(events: Iterable[Event]) -> list[Event]:
    """The deaths of processes with models on one server, each once, as it was first reported.

    The server, the kernel and the engine may each report the same death, up to a second apart, and a model may have been
    loaded anew meanwhile. A further report is of another death only when the model was there again, loaded or with a
    request that succeeded, and its observer had reported the death before, or more than a second has passed.
    """
    events = sorted(events, key=lambda event: event.at_s)
    signs = _signs_of_life(events)
    found: list[Event] = []
    known: defaultdict[tuple[str | None, bool], list[tuple[Event, set[str]]]] = defaultdict(list)
    for report in events:
        if report.kind not in DEATHS:
            continue
        earlier = known[report.model, empties(report)]
        late = [
            sources
            for death, sources in earlier
            if report.source not in sources and report.at_s - death.at_s <= ONE_DEATH_S
        ]
        if late:
            late[0].add(report.source)
        elif not earlier or any(earlier[-1][0].at_s <= at_s <= report.at_s for at_s in signs[report.model]):
            found.append(report)
            earlier.append((report, {report.source}))
    return found


def _signs_of_life(events: Sequence[Event]) -> Mapping[str | None, Sequence[float]]:
    """When each model was loaded, or a request to it began that succeeded; under None for all models."""
    found: defaultdict[str | None, list[float]] = defaultdict(list)
    loaded = [(event.model, event.at_s) for event in moves(events, "load") if event.outcome in LOADED]
    replied = [(request.model, request.began_s) for request in requests(events) if request.outcome == "ok"]
    for model, at_s in (*loaded, *replied):
        found[model].append(at_s)
        found[None].append(at_s)
    return found


def empties(event: Event) -> bool:
    """Whether all models left memory at once: the server ended, or another took its place."""
    ended = event.kind == "replace" or (event.source == "engine" and event.kind in ("stop", "restart"))
    return event.model is None and (ended or event.detail.get("models") == "all")
