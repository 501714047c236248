"""The checks of a bundle, made again: on its own timeline, or on another that was recorded since."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_mme import checks
from pytest_mme.bundles.bundle import Bundle, marks
from pytest_mme.events import Event


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one check, then and now; None: it passed."""

    server: str
    check: str
    then: str | None
    now: str | None


def judge(bundle: Bundle, events_of: Callable[[str, float], Sequence[Event]] | None = None) -> Iterator[Verdict]:
    """Each check that the test has made of a server or an endpoint.

    *events_of* gives a server's events; None: those that were recorded until the check was made.
    """
    for mark in marks(bundle.timeline):
        server = str(mark.server)
        events = events_of(server, mark.at_s) if events_of else _until(bundle.of(server), mark)
        check, detail = getattr(checks, mark.outcome, None), mark.detail
        yield Verdict(
            server=server,
            check=_said(mark),
            then=detail.get("failed"),
            now=f"there is no {mark.outcome}" if check is None else _made(check, events, detail),
        )


def _until(events: Sequence[Event], mark: Event) -> list[Event]:
    return [event for event in events if event.at_s <= mark.at_s]


def _made(check: Callable[..., None], events: Sequence[Event], detail: Any) -> str | None:
    try:
        check(events, *detail.get("arguments", ()), **{**detail.get("options", {}), "soft": False})
    except AssertionError as error:
        return str(error)
    return None


def _said(mark: Event) -> str:
    arguments = [repr(one) for one in mark.detail.get("arguments", ())]
    options = [f"{name}={value!r}" for name, value in mark.detail.get("options", {}).items()]
    return f"{mark.outcome}({', '.join([*arguments, *options])})"
