"""Whether models whose process ended recovered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_mme.checks.answers import why_not_right
from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import NO_ANSWER, Event
from pytest_mme.timeline.observed import SAME_MOMENT_S, Loads, by_server, is_bad_request, requests
from pytest_mme.timeline.residency import DEATHS, deaths, departures, empties
from pytest_mme.timeline.wording import Named, counted, listed, name_of, outcomes, some

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
    """Fail unless each model that died predicted rightly again within *within_s* seconds, and no other failed meanwhile.

    Nor may a request to any model that came meanwhile be left without a reply, or be held up: take more than *within_s*
    and twice what the slowest other request to its model took. Judged are the deaths (`crash`, `oom`) of *models*, or of
    all; each of *models* must have had one. A death that the server, the kernel and the engine report is one. Where one
    process holds all models, as a container's first process or that of `mme_handler`, its end is the death of each model
    that had replied and had not left memory since. *signature*: an outcome that must have been recorded of it, such as
    ``SIGKILL``, ``exit 137`` or the ``ModelError`` of a request.

    Seen by: the callers; deaths by whoever reports them; loads by the platform, or else the client, or else the server.
    Reads: `crash`, `oom`, `invoke`, `attempt` and `load` events.
    Nothing to judge: no model died, or one of *models* did not; a prediction came of which nobody knows whether it is right.
    Cannot see: a model that nobody asks again has not recovered, also where it could have.
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
        if signature is not None and not any(f" {one}".endswith(f" {signature}") for one in seen):
            wrong.append(f"{signature} was not seen; seen: {listed(seen)}")
        if wrong:
            raise AssertionError("; ".join(wrong))


@dataclasses.dataclass(frozen=True)
class _Outage:
    """A model on a server, from its death until it has replied again."""

    model: str
    death: Event
    requests: Sequence[Event]
    """The requests to that server."""
    served: Sequence[Event]
    """The requests to the model itself that a later process replied to with success."""

    @property
    def until_s(self) -> float:
        return self.served[0].at_s if self.served else math.inf

    def wrong(self) -> list[Event]:
        """Its first replies, if they were not right; of other clients' requests, whose predictions nobody saw, no more is known."""
        seen = [event for event in self.served if "got" in event.detail]
        return [event for event in seen if event.at_s <= seen[0].at_s + SAME_MOMENT_S and why_not_right(event)]

    def meanwhile(self) -> list[Event]:
        """The requests that began before the model had recovered, and did not end long before it died."""
        return [
            event
            for event in self.requests
            if event.at_s >= self.death.at_s - _BEFORE_S and event.began_s <= self.until_s
        ]

    def signature(self) -> set[str]:
        """The outcomes that the death and, until it was over, the requests to the model had."""
        mine = (event.outcome for event in self.meanwhile() if event.model == self.model and event.outcome != "ok")
        return {self.death.outcome, *mine}

    def covers(self, event: Event) -> bool:
        """Whether *event* concerns this model while it was dead."""
        return (
            (event.server, event.model) == (self.death.server, self.model)
            and event.at_s >= self.death.at_s - _BEFORE_S
            and event.began_s <= self.until_s
        )

    def is_held_up(self, event: Event, within_s: float) -> bool:
        """Whether a request that came meanwhile took longer than it may, and than the model takes otherwise."""
        others = [one for one in self.requests if one.model == event.model and one is not event and one.outcome == "ok"]
        usual_s = max((one.seconds or 0.0 for one in others if not self.covers(one)), default=0.0)
        waited_s = event.at_s - max(event.began_s, self.death.at_s)
        return waited_s > within_s + SAME_MOMENT_S and waited_s > 2 * usual_s


def _outages(events: Sequence[Event]) -> Iterator[_Outage]:
    """The outages on one server."""
    seen, loads = requests(events), Loads(events)
    for death in deaths(_of_each_model(events)):
        if death.model is None:
            continue
        served = [  # by a later process: a request that began before needs a load of the model in between
            event
            for event in seen
            if event.model == death.model
            and event.at_s >= death.at_s
            and event.outcome == "ok"
            and (event.began_s >= death.at_s or loads.ended(death.server, death.model, death.at_s, event.at_s))
        ]
        yield _Outage(death.model, death, seen, served)


def _of_each_model(events: Sequence[Event]) -> Iterator[Event]:
    """The events, where the end of a process that has all models is that of each of them."""
    for event in events:
        if event.kind in DEATHS and empties(event):
            yield from (dataclasses.replace(event, model=model) for model in _in_use(events, event.at_s))
        else:
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


def _failures(outage: _Outage, outages: Sequence[_Outage], within_s: float, signature: str | None) -> Iterator[str]:
    """What went wrong after a death."""
    died = f"{outage.model} died at {outage.death.at_s:.2f} s"
    if not outage.served:
        failed = [one for one in outage.meanwhile() if one.model == outage.model and one.outcome != "ok"]
        yield f"{died} and has not replied since: {outcomes(failed)}"
        return
    if (took_s := outage.until_s - outage.death.at_s) > within_s + SAME_MOMENT_S:
        yield f"{died} and replied {took_s:.2f} s later; {within_s:g} s are allowed"
    for event in outage.wrong():
        yield f"{died} and then {why_not_right(event)}"
    without_reply = [event for event in outage.meanwhile() if event.outcome == NO_ANSWER != signature]
    if without_reply:
        yield f"{died} and left {counted(len(without_reply), 'request')} without a reply: {outcomes(without_reply)}"
    stopped = [
        event
        for event in outage.meanwhile()
        if event.outcome not in ("ok", NO_ANSWER)
        and not is_bad_request(event)
        and event.at_s >= outage.death.at_s - SAME_MOMENT_S
        and not any(other.covers(event) for other in outages)
    ]
    if stopped:
        yield f"{listed(str(event.model) for event in stopped)} failed meanwhile: {outcomes(stopped)}"
    came = [one for one in outage.meanwhile() if one.outcome == "ok" and one is not outage.served[0]]
    if held_up := [one for one in came if outage.is_held_up(one, within_s)]:
        held = some(held_up, lambda one: f"{one.model} for {one.at_s - one.began_s:.2f} s")
        yield f"{died} and requests that came meanwhile were held up: {held}"
