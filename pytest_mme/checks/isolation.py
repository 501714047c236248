"""What one model's failure did to the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_mme import answers
from pytest_mme.checks.latency import compare
from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import Loads, by_server, moves, requests
from pytest_mme.timeline.residency import DEATHS, empties
from pytest_mme.timeline.wording import Named, counted, listed, names_of

_SHOWN = 5


@fails_at_the_call
def check_isolated(
    events: Iterable[Event],
    *,
    good: Iterable[Named | str] | Named | str,
    bad: Iterable[Named | str] | Named | str,
    max_ratio: float | None = None,
    soft: bool = False,
) -> None:
    """Fail unless *bad* models failed, at a load, at a request or by dying, and *good* ones still predicted rightly.

    Each of *bad* must have failed, and each of *good* must have had a request after the first failure. *max_ratio*: how
    many times as long the requests to *good* may take after that failure as before it, at the median; it takes ten of
    each.
    """
    with softly(soft):
        events = list(events)
        well, ill = names_of(good), names_of(bad)
        failures = [one for server in by_server(events) for one in _failures(server) if one.model in ill]
        if missing := [name for name in ill if name not in {event.model for event in failures}]:
            raise AssertionError(f"{listed(missing)} did not fail, so there is nothing to judge")
        first = min(failures, key=lambda event: event.at_s)
        asked = requests(events, well)
        meanwhile = [event for event in asked if event.at_s >= first.began_s]
        after = {event.model for event in asked if event.at_s >= first.at_s}
        if missing := [name for name in well if name not in after]:
            raise AssertionError(
                f"{listed(missing)} got no request after {first.model} had failed at {first.at_s:.2f} s"
            )
        wrong = [f"{event.model} at {event.at_s:.2f} s: {why}" for event in meanwhile if (why := _wrong(event))]
        died = [
            f"{event.model or 'the whole server'} died at {event.at_s:.2f} s"
            for event in events
            if event.kind in DEATHS and event.at_s >= first.began_s and (event.model in well or empties(event))
        ]
        if wrong or died:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise AssertionError(
                f"{listed(ill)} took others along: {'; '.join([*dict.fromkeys(died), *wrong[:_SHOWN]])}{more} "
                f"({counted(len(meanwhile), 'request')} judged)"
            )
        if max_ratio is not None:
            loads = Loads(events)
            before = [event for event in asked if event.at_s < first.began_s and not loads.waited_for(event)]
            since = [event for event in meanwhile if not loads.waited_for(event)]
            compare(since, before, max_ratio, (listed(well), f"after {first.model} had failed"), 0.5, "the median")


def _failures(events: Sequence[Event]) -> Iterator[Event]:
    """The deaths, failed requests and failed loads of one server; not a load without room, for which room was then made."""
    loads = Loads(events)
    for event in [*requests(events), *moves(events, "load"), *(one for one in events if one.kind in DEATHS)]:
        if event.outcome in ("ok", "409") and event.kind not in DEATHS:
            continue
        made_room = event.kind == "load" and event.outcome == "507"
        if not (made_room and loads.ended(event.server, event.model, event.at_s, math.inf)):
            yield event


def _wrong(event: Event) -> str:
    if event.outcome != "ok":
        return event.outcome
    expected = event.detail.get("expected")
    right = expected is None or answers.recorded(expected) == event.detail.get("got")
    return "" if right else f"answered {event.detail.get('got')!r}"
