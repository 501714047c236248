"""Records a world as the kit records a real endpoint: late, doubled, in another order, and not all of it.

Its bounds are those that docs/claims.md states: an observer's clock is up to 2 ms off, a death is reported up to 0.9 s late
by the engine and may be reported twice, the server's own view may be missing, the ids that join tries to calls and the
moments of the platform's decisions may be missing, and the list of events has any order.
"""

from __future__ import annotations

import dataclasses
from random import Random

from pytest_mme.timeline.events import Event, Source
from tests.truth.world import RETRY_S, STEP_S, Move, Request, World

_OFF_S = 0.002
_LATE_S = 0.9
_PAUSE_S = 1e-5
"""How long a process takes, at the least, from one request to the next."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """What is recorded, and how well."""

    seed: int
    server_sees: bool
    """Whether the server's own view of requests and loads is recorded."""
    exact: bool
    """Whether the platform's decisions have their moments, and calls their ids."""
    engine_reports: bool
    """Whether the engine reports deaths, too."""


def record(world: World, how: Recording, *, server: str | None = None) -> list[Event]:
    """The events of a world."""
    observed = _Observed(world, how)
    events = observed.all()
    observed.dice.shuffle(events)
    return [dataclasses.replace(event, server=server) for event in events]


class _Observed:
    def __init__(self, world: World, how: Recording) -> None:
        self._world, self._how = world, how
        self.dice = Random(how.seed)

    def all(self) -> list[Event]:
        events: list[Event] = []
        for request in self._world.requests:
            events += self._of_request(request)
        for move in self._world.moves:
            events += self._of_move(move)
        for at_s, model in self._world.deaths:
            events += self._of_death(at_s, model)
        return events

    def _event(
        self,
        kind: str,
        source: Source,
        model: str,
        began_s: float,
        done_s: float,
        outcome: str = "ok",
        **detail: object,
    ) -> Event:
        began_s, done_s = (at_s + self.dice.uniform(0, _OFF_S) for at_s in (began_s, done_s))
        return Event(
            kind=kind,  # type: ignore[arg-type]
            source=source,
            model=model,
            at_s=max(began_s, done_s),
            seconds=max(0.0, done_s - began_s),
            outcome=outcome,
            detail=detail,
        )

    def _of_request(self, request: Request) -> list[Event]:
        asked, known = request.asked, self._how.exact
        arrived_s = asked.at_s + asked.throttled * RETRY_S
        ids = {"request": f"request-{request.number}", "invocation": f"call-{request.number}"} if known else {}
        moments = sorted([*request.admitted_s, *request.finished_s])
        used = {"used_s": moments} if known else {}
        number = f"attempt={1 + asked.throttled}; max=5"
        events = [
            self._event(
                "attempt",
                "hosting",
                request.model,
                arrived_s,
                request.done_s,
                request.outcome,
                attempt=number,
                **ids,
                **used,
            )
        ]
        if asked.throttled:
            first = {**ids, "request": f"first-{request.number}"} if known else {}
            more: dict[str, list[float]] = {"used_s": []} if known else {}
            refused_s = asked.at_s + STEP_S
            events.append(
                self._event(
                    "attempt",
                    "hosting",
                    request.model,
                    asked.at_s,
                    refused_s,
                    "429 ModelNotReadyException",
                    attempt="attempt=1; max=5",
                    **first,
                    **more,
                )
            )
        if asked.by_kit:
            events.append(self._call(request, ids))
        if self._how.server_sees and request.worked:
            began_s, ended_s = request.worked
            seconds = {"queued_s": began_s - request.admitted_s[-1], "worked_s": ended_s - began_s - _PAUSE_S}
            outcome = "ok" if request.outcome == "ok" else "500"
            seen = self._event("invoke", "server", request.model, began_s, ended_s, outcome, **seconds)
            events.append(
                dataclasses.replace(seen, at_s=ended_s + _OFF_S, seconds=ended_s + _OFF_S - request.admitted_s[-1])
            )
        return events

    def _call(self, request: Request, ids: dict[str, str]) -> Event:
        expected = {"identity": request.model, "value": [1.0]}
        got = {"right": {"identity": request.model, "y": [1.0]}, "wrong": {"identity": "another", "y": [1.0]}}
        outcome = request.outcome.removeprefix("424 ")
        detail: dict[str, object] = {"x": [1.0], "expected": expected}
        if outcome == "ok" and request.predicted == "nothing":
            outcome = "no prediction"
        elif outcome == "ok":
            detail["got"] = got[request.predicted]
        if ids:
            detail["request"] = ids["request"]
        event = self._event("invoke", "test", request.model, request.asked.at_s, request.done_s, outcome, **detail)
        return dataclasses.replace(event, at_s=event.at_s + _OFF_S, seconds=(event.seconds or 0.0) + 2 * _OFF_S)

    def _of_move(self, move: Move) -> list[Event]:
        detail: dict[str, object] = {}
        if move.kind == "evict":
            detail = {"room_for": move.room_for, **({"decided_s": move.began_s} if self._how.exact else {})}
        event = self._event(move.kind, "hosting", move.model, move.began_s, move.done_s, move.outcome, **detail)
        if self._how.exact:  # the platform records what it has done before it decides what to do next
            event = dataclasses.replace(event, at_s=move.done_s, seconds=move.done_s - move.began_s)
        events = [event]
        if move.kind == "evict":
            events.append(dataclasses.replace(event, kind="unload", detail={}))
        if move.kind == "load" and self._how.server_sees:
            events.append(self._event("load", "server", move.model, move.began_s, move.done_s, move.outcome))
        return events

    def _of_death(self, at_s: float, model: str) -> list[Event]:
        crash = self._event("crash", "server", model, at_s, at_s, "SIGKILL")
        reports = [crash] * self.dice.choice((1, 1, 2))
        if self._how.engine_reports:
            late_s = at_s + self.dice.uniform(0, _LATE_S)
            reports.append(self._event("oom", "engine", model, late_s, late_s, "SIGKILL"))
        return [dataclasses.replace(report, seconds=None) for report in reports]
