"""What became of models whose process ended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import Loads, by_server, requests
from pytest_mme.timeline.residency import departures, empties
from pytest_mme.timeline.wording import Named, counted, listed, name_of, outcomes

_ONE_DEATH_S = 1.0
"""Within which the kernel and the server tell of the same death."""
_BEFORE_S = 1.0
"""How much sooner a request that meets a death may have ended: who sees a death may see it late."""
NO_ANSWER = "no answer"
"""The outcome of a request that broke off."""


@fails_at_the_call
def check_recovers(
    events: Iterable[Event],
    *models: Named | str,
    within_s: float,
    signature: str | None = None,
    soft: bool = False,
) -> None:
    """Fail unless each model whose process ended answered again within *within_s* seconds, and others never stopped.

    Nor may a request to any model be left without an answer meanwhile. Judged are the deaths (`crash`, `oom`) of
    *models*, or of all; each of *models* must have had one. Where one process has all models, as a container's first
    or that of `mme_handler`, its end is the death of each that had answered and was not unloaded since. *signature*:
    what must have been seen of it, such as ``SIGKILL``, ``exit 137`` or the ``ModelError`` that a request got.
    """
    with softly(soft):
        names = [name_of(model) for model in models]
        outages = [one for server in by_server(events) for one in _outages(server)]
        judged = [one for one in outages if not names or one.model in names]
        if missing := [name for name in names if name not in {one.model for one in judged}]:
            raise AssertionError(f"{listed(missing)} did not die, so nothing can be said about its recovery")
        if not judged:
            raise AssertionError("no model died, so nothing can be said about recovery")
        wrong = [told for outage in judged for told in _told_of(outage, outages, within_s, signature)]
        seen = sorted({one for outage in judged for one in outage.signature()})
        if signature is not None and signature not in seen:
            wrong.append(f"{signature} was not seen; seen: {listed(seen)}")
        if wrong:
            raise AssertionError("; ".join(wrong))


@dataclasses.dataclass(frozen=True)
class _Outage:
    """A model on a server, from its death until it has answered again."""

    model: str
    death: Event
    asked: Sequence[Event]
    """The requests to that server from the death on, and shortly before."""
    answer: Event | None
    """The first good one of the model itself, by a process that came after."""

    @property
    def until_s(self) -> float:
        return self.answer.at_s if self.answer else math.inf

    def meanwhile(self) -> list[Event]:
        return [event for event in self.asked if event.at_s <= self.until_s]

    def signature(self) -> set[str]:
        """In which words the death was seen, until it was over."""
        mine = (event.outcome for event in self.meanwhile() if event.model == self.model and event.outcome != "ok")
        return {self.death.outcome, *mine}

    def covers(self, event: Event) -> bool:
        """Whether *event* concerns this model while it was not there."""
        return event.model == self.model and self.death.at_s - _BEFORE_S <= event.at_s <= self.until_s


def _outages(events: Sequence[Event]) -> Iterator[_Outage]:
    """Of one server."""
    asked, loads = requests(events), Loads(events)
    for death in _deaths(events, loads):
        later = [event for event in asked if event.at_s >= death.at_s - _BEFORE_S]
        good = (event for event in later if event.model == death.model and event.outcome == "ok")
        answer = next((event for event in good if _came_after(death, event, loads)), None)
        yield _Outage(death.model or "", death, later, answer)


def _came_after(death: Event, answer: Event, loads: Loads) -> bool:
    """A request that had begun before is answered by the next process only where the model was loaded in between."""
    return answer.began_s >= death.at_s or loads.ended(death.server, death.model, death.at_s, answer.at_s)


def _of_each_model(events: Sequence[Event]) -> Iterator[Event]:
    """The reported deaths, one for each model; the end of a process that has all models is that of each of them."""
    for event in events:
        if event.kind not in ("crash", "oom"):
            continue
        if empties(event):
            yield from (dataclasses.replace(event, model=model) for model in _there(events, event.at_s))
        elif event.model is not None:
            yield event


def _there(events: Sequence[Event], at_s: float) -> Iterable[str]:
    """The models that had answered by then, or were just asked, and had not left memory since."""
    left = {event.model: event.at_s for event in departures(events) if event.at_s < at_s}
    asked = (event for event in requests(events) if event.began_s <= at_s)
    there = (event for event in asked if event.outcome == "ok" or event.at_s >= at_s - _BEFORE_S)
    for_all_s = left.get(None, -math.inf)
    return dict.fromkeys(
        one.model for one in there if one.model and one.at_s > max(left.get(one.model, for_all_s), for_all_s)
    )


def _deaths(events: Sequence[Event], loads: Loads) -> list[Event]:
    """The kernel, the server and the engine may all tell of one."""
    deaths: list[Event] = []
    told_by: dict[str | None, tuple[Event, set[str]]] = {}
    for event in _of_each_model(events):
        death, sources = told_by.get(event.model, (None, set[str]()))
        same = death is not None and event.source not in sources and event.at_s - death.at_s <= _ONE_DEATH_S
        if same and death and not loads.ended(event.server, event.model, death.at_s, event.at_s):
            sources.add(event.source)
        else:
            deaths.append(event)
            told_by[event.model] = (event, {event.source})
    return deaths


def _told_of(outage: _Outage, outages: Sequence[_Outage], within_s: float, signature: str | None) -> Iterator[str]:
    """What is wrong with what followed a death."""
    died = f"{outage.model} died at {outage.death.at_s:.2f} s"
    if outage.answer is None:
        mine = [event for event in outage.asked if event.model == outage.model and event.outcome != "ok"]
        yield f"{died} and has not answered since: {outcomes(mine)}"
        return
    if (took_s := outage.until_s - outage.death.at_s) > within_s:
        yield f"{died} and answered {took_s:.2f} s later; {within_s:g} s are allowed"
    unanswered = [event for event in outage.meanwhile() if event.outcome == NO_ANSWER != signature]
    if unanswered:
        yield f"{died} and left {counted(len(unanswered), 'request')} without an answer: {outcomes(unanswered)}"
    stopped = [
        event
        for event in outage.meanwhile()
        if event.outcome not in ("ok", NO_ANSWER)
        and event.at_s >= outage.death.at_s
        and not any(other.death.server == event.server and other.covers(event) for other in outages)
    ]
    if stopped:
        yield f"{listed(str(event.model) for event in stopped)} failed meanwhile: {outcomes(stopped)}"
