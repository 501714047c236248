"""What a failure did, to its model and to the others, and what became of requests under way."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pytest_mme.answers import Answer
from pytest_mme.checks.naming import Named, counted, listed, name_of
from pytest_mme.checks.soft import softly
from pytest_mme.checks.views import moves, requests
from pytest_mme.events import Event

_SHOWN = 5


def check_recovers(
    events: Iterable[Event],
    *models: Named | str,
    within_s: float,
    signature: str | None = None,
    soft: bool = False,
) -> None:
    """Fail unless each model whose process ended answered again within *within_s* seconds, and others never stopped.

    Judged are the deaths (`crash`, `oom`) of *models*, or of all; each of *models* must have had one. *signature*: what
    must have been seen of it, such as ``SIGKILL``, ``exit 137`` or the ``ModelError`` that a request got.
    """
    with softly(soft):
        events, names = list(events), [name_of(model) for model in models]
        deaths = [one for one in _deaths(events) if not names or one.model in names]
        if missing := [name for name in names if name not in {one.model for one in deaths}]:
            raise AssertionError(f"{listed(missing)} did not die, so nothing can be said about its recovery")
        if not deaths:
            raise AssertionError("no model died, so nothing can be said about recovery")
        wrong = [told for death in deaths for told in _told_of(death, events, within_s)]
        seen = sorted({one for death in deaths for one in _signature(death, events)})
        if signature is not None and signature not in seen:
            wrong.append(f"{signature} was not seen; seen: {listed(seen)}")
        if wrong:
            raise AssertionError("; ".join(wrong))


def _deaths(events: Iterable[Event]) -> list[Event]:
    """One of each model at a time: the kernel and the server tell of the same."""
    deaths: list[Event] = []
    last: dict[str | None, float] = {}
    for event in events:
        if event.kind in ("crash", "oom") and event.model is not None:
            if event.at_s - last.get(event.model, -1e9) > 1.0:
                deaths.append(event)
            last[event.model] = event.at_s
    return deaths


def _told_of(death: Event, events: Sequence[Event], within_s: float) -> Iterable[str]:
    """What is wrong with what followed a death. A request that had begun before it may be answered by the next process."""
    asked = [event for event in requests(events, [death.model or ""]) if event.at_s > death.at_s]
    answered = next((event for event in asked if event.outcome == "ok"), None)
    if answered is None:
        yield f"{death.model} died at {death.at_s:.2f} s and has not answered since: {_outcomes(asked)}"
        return
    if (took_s := answered.at_s - death.at_s) > within_s:
        yield f"{death.model} died at {death.at_s:.2f} s and answered {took_s:.2f} s later; {within_s:g} s are allowed"
    stopped = [
        event
        for event in requests(events)
        if event.model != death.model and event.outcome != "ok" and death.at_s <= event.at_s <= answered.at_s
    ]
    if stopped:
        yield f"{listed(str(event.model) for event in stopped)} failed meanwhile: {_outcomes(stopped)}"


def _signature(death: Event, events: Sequence[Event]) -> Iterable[str]:
    yield death.outcome
    for event in requests(events, [death.model or ""]):
        if event.outcome != "ok" and event.at_s >= death.at_s - 1.0:
            yield event.outcome


def check_isolated(
    events: Iterable[Event],
    *,
    good: Iterable[Named | str],
    bad: Iterable[Named | str],
    soft: bool = False,
) -> None:
    """Fail unless *bad* models failed, at load, at a request or by dying, and *good* ones answered all the same, rightly.

    Each of *good* must have been asked after the first failure.
    """
    with softly(soft):
        events = list(events)
        well, ill = ([name_of(model) for model in models] for models in (good, bad))
        failures = [event for event in events if event.model in ill and _failed(event)]
        if not failures:
            raise AssertionError(f"{listed(ill)} did not fail, so nothing can be said about others")
        first_s = min(event.began_s for event in failures)
        asked = [event for event in requests(events, well) if event.at_s >= first_s]
        if missing := [name for name in well if name not in {event.model for event in asked}]:
            raise AssertionError(f"{listed(missing)} was not asked after {ill[0]} had failed at {first_s:.2f} s")
        wrong = [f"{event.model} at {event.at_s:.2f} s: {why}" for event in asked if (why := _wrong(event))]
        died = [f"{event.model} died at {event.at_s:.2f} s" for event in _deaths(events) if event.model in well]
        if wrong or died:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise AssertionError(
                f"{listed(ill)} took others along: {'; '.join([*died, *wrong[:_SHOWN]])}{more} "
                f"({counted(len(asked), 'request')} judged)"
            )


def _failed(event: Event) -> bool:
    if event.kind in ("crash", "oom"):
        return True
    return event.kind in ("load", "invoke", "attempt") and event.outcome not in ("ok", "409")


def _wrong(event: Event) -> str:
    if event.outcome != "ok":
        return event.outcome
    expected = event.detail.get("expected")
    right = expected is None or Answer(**expected) == event.detail.get("got")
    return "" if right else f"answered {event.detail.get('got')!r}"


def check_drained(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless every request that was under way when its model was unloaded, or the server stopped, was answered."""
    with softly(soft):
        events = list(events)
        ends = _Ends([*moves(events, "unload"), *(event for event in events if event.kind == "stop")])
        under_way = [event for event in requests(events) if ends.within(event)]
        if not under_way:
            raise AssertionError("no request was under way at an unload or a stop: nothing can be said")
        lost = [event for event in under_way if event.outcome != "ok"]
        if lost:
            raise AssertionError(
                f"{len(lost)} of {counted(len(under_way), 'request')} under way were lost: {_outcomes(lost)}"
            )


class _Ends:
    """When models, or all at once, were to leave."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._began: defaultdict[str | None, list[float]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.began_s):
            self._began[event.model].append(event.began_s)

    def within(self, request: Event) -> bool:
        """Whether one of them began while *request* was under way; what names no model is for all."""
        return any(self._first_after(request.began_s, model) < request.at_s for model in (request.model, None))

    def _first_after(self, at_s: float, model: str | None) -> float:
        began = self._began.get(model, [])
        later = bisect.bisect_right(began, at_s)
        return began[later] if later < len(began) else math.inf


def _outcomes(events: Sequence[Event]) -> str:
    shown = ", ".join(f"{event.model} {event.outcome} at {event.at_s:.2f} s" for event in events[:_SHOWN])
    return (shown or "it was not asked") + (f" and {len(events) - _SHOWN} more" if len(events) > _SHOWN else "")
