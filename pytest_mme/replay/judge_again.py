"""The checks of a bundle, judged again; or set beside those that were made when it was done again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_mme import checks
from pytest_mme.replay.bundle import Bundle, marks
from pytest_mme.timeline.events import Event, Timeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one check, then and now; None: it passed."""

    server: str
    check: str
    then: str | None
    now: str | None


def judge(bundle: Bundle) -> Iterator[Verdict]:
    """Each check that the test has made of a server or an endpoint, by what was recorded until it was made."""
    for mark in marks(bundle.timeline):
        check = getattr(checks, mark.outcome, None)
        events = _until(bundle.of(str(mark.server)), mark)
        now = f"there is no {mark.outcome}" if check is None else _made(check, events, mark.detail)
        yield _verdict(mark, now)


def compare(bundle: Bundle, again: Timeline) -> Iterator[Verdict]:
    """The same checks as they came out then and *again*."""
    made = {server: iter(marks(again.of(server))) for server in {str(mark.server) for mark in marks(bundle.timeline)}}
    for mark in marks(bundle.timeline):
        now = next(made[str(mark.server)], None)
        yield _verdict(mark, "it was not made again" if now is None else now.detail.get("failed"))


def _verdict(mark: Event, now: str | None) -> Verdict:
    return Verdict(server=str(mark.server), check=_said(mark), then=mark.detail.get("failed"), now=now)


def _until(events: Sequence[Event], mark: Event) -> list[Event]:
    return [event for event in events if event.at_s <= mark.at_s]


def _made(check: Callable[..., None], events: Sequence[Event], detail: Any) -> str | None:
    try:
        check(events, *detail.get("arguments", ()), **{**detail.get("options", {}), "soft": False})
    except AssertionError as error:
        return str(error)
    except TypeError as error:  # of another version of the kit
        return f"it cannot be made: {error}"
    return None


def _said(mark: Event) -> str:
    arguments = [repr(one) for one in mark.detail.get("arguments", ())]
    options = [f"{name}={value!r}" for name, value in mark.detail.get("options", {}).items()]
    return f"{mark.outcome}({', '.join([*arguments, *options])})"
