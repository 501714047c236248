"""What happened at the same time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pytest_mme.checks.naming import Named, listed, name_of
from pytest_mme.checks.soft import softly
from pytest_mme.checks.views import moves, requests, served
from pytest_mme.events import Event, Kind

_COMES: tuple[Kind, ...] = ("download", "load")
_LEAVES: tuple[Kind, ...] = ("unload", "evict", "crash", "oom")


def check_concurrent(events: Iterable[Event], *models: Named | str, at_least: int = 2, soft: bool = False) -> None:
    """Fail unless *at_least* so many requests, to *models* or to all, were under way at one moment.

    Judged is what the server saw, where it tells; else what the platform, else what the callers did.
    """
    with softly(soft):
        judged = served(events, models)
        if not judged:
            raise AssertionError(f"no request to {_which(models)} was recorded, so nothing can be said of any at once")
        most, at_s = busiest(judged)
        if most < at_least:
            raise AssertionError(
                f"at most {most} of {len(judged)} requests were under way at once, at {at_s:.2f} s; "
                f"at least {at_least} must be (seen by: {judged[0].source})"
            )


def busiest(judged: Sequence[Event]) -> tuple[int, float]:
    """The most events that went on at once, and when; one that ends as another begins was before it."""
    changes = sorted([(event.began_s, 1) for event in judged] + [(event.at_s, -1) for event in judged])
    most, when, now = 0, 0.0, 0
    for at_s, change in changes:
        now += change
        if now > most:
            most, when = now, at_s
    return most, when


def check_loads_once(events: Iterable[Event], *models: Named | str, soft: bool = False) -> None:
    """Fail unless requests that came together, before their model was there, led to one download and one load of it.

    Judged are *models*, or else all that had two such requests at least; a model that is given must have had them.
    """
    with softly(soft):
        events = list(events)
        asked = [name_of(model) for model in models]
        together = {name: came for name in asked or _loaded(events) if len(came := _first_requests(events, name)) > 1}
        if missing := [name for name in asked if name not in together]:
            raise AssertionError(f"{listed(missing)} did not have two requests before its first load had ended")
        if not together:
            raise AssertionError("no model had two requests before its first load had ended: nothing can be said")
        wrong = [told for name, came in together.items() if (told := _told_of_more(events, name, len(came)))]
        if wrong:
            raise AssertionError("; ".join(wrong))


def _loaded(events: Sequence[Event]) -> list[str]:
    return sorted({event.model for event in moves(events, "load") if event.model is not None})


def _first_requests(events: Sequence[Event], name: str) -> list[Event]:
    """Those that came before the first load of that model had ended."""
    ends = [event.at_s for event in moves(events, "load") if event.model == name]
    return [event for event in requests(events, [name]) if ends and event.began_s < ends[0]]


def _told_of_more(events: Sequence[Event], name: str, came: int) -> str:
    """What there was more than one of until the model left memory; nothing where all was once."""
    until_s = min((event.at_s for event in events if event.model == name and event.kind in _LEAVES), default=math.inf)
    told = []
    for kind in _COMES:
        times = [event.at_s for event in moves(events, kind) if event.model == name and event.at_s <= until_s]
        if len(times) > 1:
            told.append(f"{len(times)} {kind}s (at {', '.join(f'{at_s:.2f} s' for at_s in times)})")
    return f"{name}: {' and '.join(told)} for {came} requests that came together" if told else ""


def _which(models: Sequence[Named | str]) -> str:
    return listed(map(name_of, models)) if models else "any model"
