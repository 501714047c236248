"""Which models were in memory, and when: the one replay of a server's events that checks and reports share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

from pytest_mme.timeline.events import Event, Kind
from pytest_mme.timeline.observed import LOADED, moves

DEATHS: tuple[Kind, ...] = ("crash", "oom")
"""The kinds of events that report that a process with models has ended."""
_REMOVALS: tuple[Kind, ...] = ("unload", "evict")
_CONCERNING = frozenset(("load", *_REMOVALS, *DEATHS, "stop", "restart", "replace"))
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
    """Follow the models of one server in and out of memory, in the order of time; at one moment, in the order given.

    A load of a model in memory changes nothing, nor does a second report that it has left: an eviction and the unload
    that carries it out report the same move.
    """
    concerning = [event for event in events if event.kind in _CONCERNING]
    loads = [event for event in moves(concerning, "load") if event.outcome in LOADED]
    reports = {id(event) for event in (*loads, *departures(concerning))}
    resident: dict[str, None] = {}
    for event in sorted((event for event in concerning if id(event) in reports), key=lambda event: event.at_s):
        concerned = list(resident) if event.model is None else [event.model]
        comes = event.kind == "load"
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
    events = [event for event in events if event.kind in _CONCERNING]
    removals = [event for kind in _REMOVALS for event in moves(events, kind) if event.outcome in _UNLOADED]
    deaths = [event for event in events if event.kind in DEATHS]
    found = [event for event in events if empties(event)] + [
        one for one in (*removals, *deaths) if one.model is not None
    ]
    return sorted(found, key=lambda event: event.at_s)


def empties(event: Event) -> bool:
    """Whether all models left memory at once: the server ended, or another took its place."""
    ended = event.kind == "replace" or (event.source == "engine" and event.kind in ("stop", "restart"))
    return event.model is None and (ended or event.detail.get("models") == "all")
