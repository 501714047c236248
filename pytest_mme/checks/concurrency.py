"""What happened at the same time."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event, Kind
from pytest_mme.timeline.observed import LOADED, by_server, moves, requests, served
from pytest_mme.timeline.residency import stays
from pytest_mme.timeline.wording import Named, listed, name_of

_COMES: tuple[Kind, ...] = ("download", "load")


@fails_at_the_call
def check_concurrent(events: Iterable[Event], *models: Named | str, at_least: int = 2, soft: bool = False) -> None:
    """Fail unless at least *at_least* requests, to *models* or to all, were under way at one moment.

    Judged is what the server saw, or else the platform, or else the callers.
    """
    with softly(soft):
        judged = served(events, models)
        if not judged:
            which = listed(map(name_of, models)) if models else "any model"
            raise AssertionError(f"no request to {which} was recorded, so there is nothing to judge")
        most, at_s = busiest(judged)
        if most < at_least:
            raise AssertionError(
                f"at most {most} of {len(judged)} requests were under way at once, at {at_s:.2f} s; "
                f"at least {at_least} must be (seen by: {judged[0].source})"
            )


def busiest(judged: Sequence[Event]) -> tuple[int, float]:
    """The highest number of events that went on at once, and when; one that ends as another begins does not overlap it."""
    changes = sorted([(event.began_s, 1) for event in judged] + [(event.at_s, -1) for event in judged])
    most, when, now = 0, 0.0, 0
    for at_s, change in changes:
        now += change
        if now > most:
            most, when = now, at_s
    return most, when


@fails_at_the_call
def check_loads_once(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless requests that came together, before their model was loaded, led to one download and one load of it.

    Judged are *models*, or else all models that had two such requests or more; each of *models* must have had them.
    """
    with softly(soft):
        names = [name_of(model) for model in models]
        together = [one for server in by_server(events) for one in _arrivals(server) if len(one.together) > 1]
        judged = [one for one in together if not names or one.name in names]
        if missing := [name for name in names if name not in {one.name for one in judged}]:
            raise AssertionError(f"{listed(missing)} did not have two requests before its first load had ended")
        if not judged:
            raise AssertionError(
                "no model had two requests before its first load had ended, so there is nothing to judge"
            )
        if wrong := [more for one in sorted(judged, key=lambda one: one.name) if (more := one.more_than_one())]:
            raise AssertionError("; ".join(wrong))


@dataclasses.dataclass
class _Arrival:
    """How a model came into memory for the first time."""

    name: str
    together: Sequence[Event]
    """The requests that came before its first load had ended."""
    came: Mapping[str, Sequence[float]]
    """When downloads and loads of it ended, until it left again."""

    def more_than_one(self) -> str:
        """What happened more than once, for a message; empty when nothing did."""
        repeated = [
            f"{len(times)} {kind}s (at {', '.join(f'{at_s:.2f} s' for at_s in times)})"
            for kind, times in self.came.items()
            if len(times) > 1
        ]
        return (
            f"{self.name}: {' and '.join(repeated)} for {len(self.together)} requests that came together"
            if repeated
            else ""
        )


def _arrivals(events: Sequence[Event]) -> Iterator[_Arrival]:
    """The first time that each model of one server came into memory."""
    asked = _by_model(requests(events))
    came = {kind: _by_model(event for event in moves(events, kind) if event.outcome in LOADED) for kind in _COMES}
    first = {stay.model: stay for stay in reversed(stays(events))}
    for name, stay in first.items():
        yield _Arrival(
            name=name,
            together=[event for event in asked[name] if event.began_s < stay.came_s],
            came={kind: [one.at_s for one in came[kind][name] if one.at_s < stay.left_s] for kind in _COMES},
        )


def _by_model(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.model is not None:
            found[event.model].append(event)
    return found
