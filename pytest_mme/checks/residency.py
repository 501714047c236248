"""Where models are: evicted, resident."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mme.checks.soft import softly
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import LOADED, UNLOADED, by_server, empties
from pytest_mme.timeline.wording import Named, listed, name_of


def check_evicted(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless each of *models* was evicted at least once, to make room for another."""
    with softly(soft):
        if not models:
            raise AssertionError("check_evicted was asked about no model, so it says nothing")
        evictions = [event for event in events if event.kind == "evict" and event.outcome == "ok"]
        evicted = {event.model for event in evictions}
        if missing := [name for name in map(name_of, models) if name not in evicted]:
            seen = "; ".join(
                f"{event.model} at {event.at_s:.2f} s for {event.detail.get('room_for', '?')}" for event in evictions
            )
            raise AssertionError(f"{listed(missing)} was not evicted; evictions: {seen or 'none was recorded'}")


def check_resident(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless each of *models* is loaded in memory at the end of the events."""
    with softly(soft):
        if not models:
            raise AssertionError("check_resident was asked about no model, so it says nothing")
        last = [moves for server in by_server(events) if (moves := _last_moves(server))]
        if not last:
            raise AssertionError("no load was recorded, so nothing can be said about what is resident")
        resident = sorted({name for moves in last for name, event in moves.items() if event.kind == "load"})
        if missing := [name for name in map(name_of, models) if name not in resident]:
            why = "; ".join(f"{name}: {_told(name, last)}" for name in missing)
            raise AssertionError(f"{listed(missing)} is not resident ({why}); resident: {listed(resident)}")


def _last_moves(events: Iterable[Event]) -> dict[str, Event]:
    """The last thing that put each model into the memory of one server or out of it."""
    moves: dict[str, Event] = {}
    for event in events:
        moved_in = event.kind == "load" and event.outcome in LOADED
        moved_out = event.kind in ("crash", "oom") or (event.kind == "unload" and event.outcome in UNLOADED)
        if empties(event):
            moves = dict.fromkeys(moves, event)
        elif event.model is not None and (moved_in or moved_out):
            moves[event.model] = event
    return moves


def _told(name: str, last: Iterable[dict[str, Event]]) -> str:
    seen = [f"{moves[name].kind} at {moves[name].at_s:.2f} s" for moves in last if name in moves]
    return ", ".join(seen) or "never loaded"
