"""Whether models whose process ended recovered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import NO_ANSWER, Event
from pytest_mme.timeline.observed import Loads, by_server, requests
from pytest_mme.timeline.residency import DEATHS, departures, empties
from pytest_mme.timeline.wording import Named, counted, listed, name_of, outcomes

_ONE_DEATH_S = 1.0
"""How far apart two observers may report the same death, in seconds."""
_BEFORE_S = 1.0
"""How much sooner a request that a death broke may have ended than the death was reported, in seconds."""


@fails_at_the_call
def check_recovers(
    events: Iterable[Event],
    *models: Named | str,
    within_s: float,
    signature: str | None = None,
    soft: bool = False,
) -> None:
    """Fail unless each model that died served again within *within_s* seconds, and no other model failed meanwhile.

    Nor may a request to any model be left without a reply meanwhile. Judged are the deaths (`crash`, `oom`) of
    *models*, or of all; each of *models* must have had one. Where one process holds all models, as a container's first
    process or that of `mme_handler`, its end is the death of each model that had replied and had not left memory
    since. *signature*: an outcome that must have been recorded of it, such as ``SIGKILL``, ``exit 137`` or the
    ``ModelError`` of a request.
    """
    with softly(soft):
        names = [name_of(model) for model in models]
        outages = [one for server in by_server(events) for one in _outages(server)]
        judged = [one for one in outages if not names or one.model in names]
        if missing := [name for name in names if name not in {one.model for one in judged}]:
            raise AssertionError(f"{listed(missing)} did not die, so there is nothing to judge")
        if not judged:
            raise AssertionError("no model died, so there is nothing to judge")
        wrong = [what for outage in judged for what in _failures(outage, outages, within_s, signature)]
        seen = sorted({one for outage in judged for one in outage.signature()})
        if signature is not None and signature not in seen:
            wrong.append(f"{signature} was not seen; seen: {listed(seen)}")
        if wrong:
            raise AssertionError("; ".join(wrong))


@dataclasses.dataclass(frozen=True)
class _Outage:
    """A model on a server, from its death until it has replied again."""

    model: str
    death: Event
    requests: Sequence[Event]
    """The requests to that server from the death on, and shortly before."""
    recovery: Event | None
    """The first request to the model itself that a later process replied to with success."""

    @property
    def until_s(self) -> float:
        return self.recovery.at_s if self.recovery else math.inf

    def meanwhile(self) -> list[Event]:
        return [event for event in self.requests if event.at_s <= self.until_s]

    def signature(self) -> set[str]:
        """The outcomes that the death and, until it was over, the requests to the model had."""
        mine = (event.outcome for event in self.meanwhile() if event.model == self.model and event.outcome != "ok")
        return {self.death.outcome, *mine}

    def covers(self, event: Event) -> bool:
        """Whether *event* concerns this model while it was dead."""
        return event.model == self.model and self.death.at_s - _BEFORE_S <= event.at_s <= self.until_s


def _outages(events: Sequence[Event]) -> Iterator[_Outage]:
    """The outages on one server."""
    seen, loads = requests(events), Loads(events)
    for death in _deaths(events, loads):
        later = [event for event in seen if event.at_s >= death.at_s - _BEFORE_S]
        served = [  # by a later process: a request that began before needs a load of the model in between
            event
            for event in later
            if event.model == death.model
            and event.outcome == "ok"
            and (event.began_s >= death.at_s or loads.ended(death.server, death.model, death.at_s, event.at_s))
        ]
        yield _Outage(death.model or "", death, later, next(iter(served), None))


def _of_each_model(events: Sequence[Event]) -> Iterator[Event]:
    """The reported deaths, one for each model; the end of a process that has all models is that of each of them."""
    for event in events:
        if event.kind not in DEATHS:
            continue
        if empties(event):
            yield from (dataclasses.replace(event, model=model) for model in _in_use(events, event.at_s))
        elif event.model is not None:
            yield event


def _in_use(events: Sequence[Event], at_s: float) -> Iterable[str]:
    """The models that had replied by then, or just had a request, and had not left memory since.

    Requests stand in for the loads that `residency.stays` follows: the models of `mme_handler` have no loads, a death
    may break off the load for which a request waits, and a model that nobody asked has no requests to recover by.
    """
    left = {event.model: event.at_s for event in departures(events) if event.at_s < at_s}
    begun = (event for event in requests(events) if event.began_s <= at_s)
    used = (event for event in begun if event.outcome == "ok" or event.at_s >= at_s - _BEFORE_S)
    for_all_s = left.get(None, -math.inf)
    return dict.fromkeys(
        one.model for one in used if one.model and one.at_s > max(left.get(one.model, for_all_s), for_all_s)
    )


def _deaths(events: Sequence[Event], loads: Loads) -> list[Event]:
    """The deaths, each once: the kernel, the server and the engine may all report the same one."""
    deaths: list[Event] = []
    latest: dict[str | None, tuple[Event, set[str]]] = {}
    for event in _of_each_model(events):
        death, sources = latest.get(event.model, (None, set[str]()))
        same = death is not None and event.source not in sources and event.at_s - death.at_s <= _ONE_DEATH_S
        if same and death and not loads.ended(event.server, event.model, death.at_s, event.at_s):
            sources.add(event.source)
        else:
            deaths.append(event)
            latest[event.model] = (event, {event.source})
    return deaths


def _failures(outage: _Outage, outages: Sequence[_Outage], within_s: float, signature: str | None) -> Iterator[str]:
    """What went wrong after a death."""
    died = f"{outage.model} died at {outage.death.at_s:.2f} s"
    if outage.recovery is None:
        mine = [event for event in outage.requests if event.model == outage.model and event.outcome != "ok"]
        yield f"{died} and has not replied since: {outcomes(mine)}"
        return
    if (took_s := outage.until_s - outage.death.at_s) > within_s:
        yield f"{died} and replied {took_s:.2f} s later; {within_s:g} s are allowed"
    without_reply = [event for event in outage.meanwhile() if event.outcome == NO_ANSWER != signature]
    if without_reply:
        yield f"{died} and left {counted(len(without_reply), 'request')} without a reply: {outcomes(without_reply)}"
    stopped = [
        event
        for event in outage.meanwhile()
        if event.outcome not in ("ok", NO_ANSWER)
        and event.at_s >= outage.death.at_s
        and not any(other.death.server == event.server and other.covers(event) for other in outages)
    ]
    if stopped:
        yield f"{listed(str(event.model) for event in stopped)} failed meanwhile: {outcomes(stopped)}"
