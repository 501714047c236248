"""Which models were evicted, and which are in memory."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import by_server, evictions
from pytest_mme.timeline.residency import changes
from pytest_mme.timeline.wording import Named, listed, name_of


@fails_at_the_call
def check_evicted(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless each of *models* was evicted at least once, to make room for another."""
    with softly(soft):
        if not models:
            raise AssertionError("check_evicted needs at least one model")
        found = evictions(events)
        evicted = {event.model for event in found}
        if missing := [name for name in map(name_of, models) if name not in evicted]:
            seen = "; ".join(
                f"{event.model} at {event.at_s:.2f} s for {event.detail.get('room_for', '?')}" for event in found
            )
            raise AssertionError(f"{listed(missing)} was not evicted; evictions: {seen or 'none was recorded'}")


@fails_at_the_call
def check_resident(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless each of *models* is in memory at the end of the events."""
    with softly(soft):
        if not models:
            raise AssertionError("check_resident needs at least one model")
        latest = [{change.model: change for change in changes(server)} for server in by_server(events)]
        if not any(latest):
            raise AssertionError("no load was recorded, so there is nothing to judge")
        resident = sorted({name for server in latest for name, change in server.items() if change.resident})
        if missing := [name for name in map(name_of, models) if name not in resident]:
            why: list[str] = []
            for name in missing:
                left = [server[name].event for server in latest if name in server]
                seen = ", ".join(f"{event.kind} at {event.at_s:.2f} s" for event in left)
                why.append(f"{name}: {seen or 'never loaded'}")
            raise AssertionError(f"{listed(missing)} is not resident ({'; '.join(why)}); resident: {listed(resident)}")
