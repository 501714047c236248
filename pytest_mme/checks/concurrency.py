"""What happened at the same time."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event, Kind
from pytest_mme.timeline.observed import SAME_MOMENT_S, by_instance, by_server, moves, requests, served
from pytest_mme.timeline.residency import stays
from pytest_mme.timeline.wording import Named, counted, listed, name_of

_COMES: tuple[Kind, ...] = ("download", "load")
_NO_ROOM = "507"


@fails_at_the_call
def check_concurrent(events: Iterable[Event], *models: Named | str, at_least: int = 2, soft: bool = False) -> None:
    """Fail unless processes of one server worked on at least *at_least* requests, to *models* or to all, at one moment.

    A request that waits in a queue is not worked on.

    Seen by: the server, which knows when a worker or a handler had a request. Callers and the platform cannot tell waiting
    from work: where only they saw requests that succeeded, that proves one at a time.
    Reads: `invoke` events of the server, with the seconds that a request was queued and worked on (`queued_s`, `worked_s`).
    Nothing to judge: no request succeeded or reached a process, or *at_least* is below 1.
    Cannot see: what a process does with the requests that it has, such as waiting for a lock of its own.
    """
    with softly(soft):
        if at_least < 1:
            raise AssertionError(f"at_least={at_least} judges nothing: ask for 1 or more requests")
        events = list(events)
        which = listed(map(name_of, models)) if models else "any model"
        worked = served(events, models)
        if not worked:
            if not any(event.outcome == "ok" for event in requests(events, models)):
                raise AssertionError(f"no request to {which} succeeded, so there is nothing to judge")
            if at_least > 1:
                raise AssertionError(
                    "only the callers saw these requests, and they cannot tell waiting from work: that at least "
                    f"{at_least} were worked on at once can be seen on the kit's own server only"
                )
            return
        most, at_s, server = max(((*busiest(one), one[0].server) for one in by_server(worked)), key=lambda one: one[0])
        if most < at_least:
            on = f" on {server}" if server else ""
            raise AssertionError(
                f"at most {most} of {counted(len(worked), 'request')} were worked on at once, at {at_s:.2f} s{on}; "
                f"at least {at_least} must be"
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
    """Fail unless requests that came together, while their model was not in memory, led to one download and one load.

    So it must be each time that a model comes into memory, also after an eviction. A download or load that failed is one
    too, but for a load without room (507), after which room is made. Judged are *models*, or else all models for which
    two or more requests waited at once; each of *models* must have had them.

    Seen by: the callers; downloads and loads by the platform, or else the client that asked, or else the server.
    Reads: `invoke`, `attempt`, `download` and `load` events, and those that report a model gone.
    Nothing to judge: no two requests waited for one load.
    Cannot see: requests of others than this test's clients; a herd whose model never came.
    """
    with softly(soft):
        names = [name_of(model) for model in models]
        herds = [herd for one in by_instance(events) for herd in _herds(one) if len(herd.together) > 1]
        judged = [herd for herd in herds if not names or herd.name in names]
        if missing := [name for name in names if name not in {herd.name for herd in judged}]:
            raise AssertionError(f"{listed(missing)} did not have two requests that waited for one load of it")
        if not judged:
            raise AssertionError("no model had two requests that waited for one load, so there is nothing to judge")
        if wrong := [more for herd in sorted(judged, key=lambda herd: herd.name) if (more := herd.more_than_one())]:
            raise AssertionError("; ".join(wrong))


@dataclasses.dataclass
class _Herd:
    """How a model came into memory, for requests that waited for it."""

    name: str
    together: Sequence[Event]
    """The requests that came before it, and were under way at one time."""
    came: Mapping[str, Sequence[float]]
    """When downloads and loads of it ended, from the first request on until it left again."""

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


def _herds(events: Sequence[Event]) -> Iterator[_Herd]:
    """Each time that a model of one instance came into memory."""
    asked = _by_model(requests(events))
    came = {kind: _by_model(moves(events, kind)) for kind in _COMES}
    left_s: defaultdict[str, float] = defaultdict(lambda: -math.inf)
    for stay in stays(events):
        waiting = [one for one in asked[stay.model] if left_s[stay.model] <= one.began_s < stay.came_s]
        together = _overlapping(waiting, stay.came_s)
        first_s = min((one.began_s for one in together), default=stay.came_s)
        yield _Herd(
            name=stay.model,
            together=together,
            came={
                kind: [
                    one.at_s
                    for one in came[kind][stay.model]
                    if first_s < one.at_s < stay.left_s and one.outcome != _NO_ROOM
                ]
                for kind in _COMES
            },
        )
        left_s[stay.model] = stay.left_s


def _overlapping(waiting: Sequence[Event], came_s: float) -> list[Event]:
    """Those requests that were under way when the model came, and those that were under way together with them."""
    found = [request for request in waiting if request.at_s >= came_s]
    since_s = min((request.began_s for request in found), default=came_s)
    earlier = [request for request in waiting if request.at_s < came_s] if found else []
    for request in sorted(earlier, key=lambda event: event.at_s, reverse=True):
        if request.at_s - since_s > SAME_MOMENT_S:
            found.append(request)
            since_s = min(since_s, request.began_s)
    return found


def _by_model(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.model is not None:
            found[event.model].append(event)
    return found
