"""What was seen of requests and loads: several observers tell of the same one, and a check listens to one of them."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from pytest_mme.checks.naming import Named, name_of
from pytest_mme.events import Event, Kind, Source

_CALLERS: tuple[tuple[Kind, Source], ...] = (
    *(("invoke", "test"), ("invoke", "client")),  # the kit's own calls
    ("attempt", "hosting"),  # those of anybody's boto3
    ("invoke", "server"),
)
"""The observers of requests, the nearest to the caller first."""
_SERVERS = tuple(reversed(_CALLERS))
LOADED = ("ok", "409")
"""The outcomes of a load after which the model is in memory."""
_PLATFORM: tuple[Source, ...] = ("hosting", "client", "server")


def requests(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests as their callers saw them, of *models* or of all."""
    return _first(list(events), _CALLERS, models)


def served(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests as they were seen nearest to the models: by the server, else by the platform, else by the callers."""
    return _first(list(events), _SERVERS, models)


def moves(events: Iterable[Event], *kinds: Kind) -> list[Event]:
    """Downloads, loads, unloads, evictions: as the platform saw them, or else who asked for them, or else the server."""
    found = [event for event in events if event.kind in kinds]
    seen_by = next((source for source in _PLATFORM if any(event.source == source for event in found)), None)
    return [event for event in found if event.source == seen_by]


class Loads:
    """When models had been loaded."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._ends: defaultdict[str | None, list[float]] = defaultdict(list)
        for event in sorted(moves(events, "load"), key=lambda event: event.at_s):
            if event.outcome in LOADED:
                self._ends[event.model].append(event.at_s)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def ended(self, model: str | None, began_s: float, at_s: float) -> bool:
        """Whether a load of *model* ended in that time: a request that took it had to wait."""
        ends = self._ends.get(model, [])
        first = bisect.bisect_left(ends, began_s)
        return first < len(ends) and ends[first] <= at_s


def _first(
    events: Sequence[Event], observers: Iterable[tuple[Kind, Source]], models: Collection[Named | str]
) -> list[Event]:
    names = {name_of(model) for model in models}
    for kind, source in observers:
        found = [event for event in events if event.kind == kind and event.source == source]
        if found:
            return [event for event in found if not names or event.model in names]
    return []
