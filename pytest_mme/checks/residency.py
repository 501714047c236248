"""Which models were evicted, and which are in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import by_instance, by_server, evictions
from pytest_mme.timeline.residency import Change, changes
from pytest_mme.timeline.wording import Named, listed, name_of


@fails_at_the_call
def check_evicted(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless each of *models* was evicted at least once, to make room for another.

    Seen by: the platform, which evicts.
    Reads: `evict` events with the outcome `ok`.
    Nothing to judge: no model is named.
    Cannot see: which server or instance of several it was; whether the model came back.
    """
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
    """Fail unless each of *models* is in memory at the end of the events, on every server that had loaded it.

    Of an endpoint with several instances one that has the model is enough.

    Seen by: the platform, or else the client that loads and unloads, or else the server; deaths by whoever reports them.
    Reads: `load`, `unload`, `evict`, `crash`, `oom`, `stop`, `restart` and `replace` events.
    Nothing to judge: no model is named, or no load was recorded.
    Cannot see: a model that left memory without an event, as when others unload it on an attached server.
    """
    with softly(soft):
        if not models:
            raise AssertionError("check_resident needs at least one model")
        servers = [list(_latest(server)) for server in by_server(events)]
        if not any(change for server in servers for change in server):
            raise AssertionError("no load was recorded, so there is nothing to judge")
        resident = sorted({change.model for server in servers for change in server if change.resident})
        missing = {
            name: [change for server in servers for change in server if change.model == name]
            for name in map(name_of, models)
            if not _is_resident(name, servers)
        }
        if missing:
            why = "; ".join(
                f"{name}: {', '.join(_reported(one, several=len(servers) > 1) for one in changed) or 'never loaded'}"
                for name, changed in missing.items()
            )
            raise AssertionError(f"{listed(missing)} is not resident ({why}); resident: {listed(resident)}")


def _latest(events: Iterable[Event]) -> Iterator[Change]:
    """What last happened to each model on each instance of one server."""
    for instance in by_instance(events):
        yield from {change.model: change for change in changes(instance)}.values()


def _is_resident(name: str, servers: Iterable[Iterable[Change]]) -> bool:
    found = [[change.resident for change in server if change.model == name] for server in servers]
    had = [instances for instances in found if instances]
    return bool(had) and all(any(instances) for instances in had)


def _reported(change: Change, *, several: bool) -> str:
    where = f" on {change.event.server}" if several else ""
    return f"{change.event.kind} at {change.event.at_s:.2f} s{where}"
