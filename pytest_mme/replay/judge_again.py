"""The checks of a bundle, judged again; or compared with those that were made when the test was run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_mme import checks
from pytest_mme.replay.bundle import Bundle, made_checks
from pytest_mme.timeline.calls import call_text
from pytest_mme.timeline.events import Event, Timeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one check found, then and now."""

    server: str
    check: str
    """The call, as Python writes it."""
    then: str | None
    """Why it failed when the test made it; None when it passed."""
    now: str | None


def judge(bundle: Bundle) -> Iterator[Verdict]:
    """Each check that the test made of a server or an endpoint, judged by what was recorded until it was made."""
    for made in made_checks(bundle.timeline):
        events = [event for event in bundle.of(str(made.server)) if event.at_s <= made.at_s]
        yield _verdict(made, _judged_again(events, made.detail["call"]))


def compare(bundle: Bundle, again: Timeline) -> Iterator[Verdict]:
    """The same checks as they came out then and *again*."""
    then = made_checks(bundle.timeline)
    now = {server: iter(made_checks(again.of(server))) for server in {str(made.server) for made in then}}
    for made in then:
        same = next(now[str(made.server)], None)
        yield _verdict(made, "it was not made again" if same is None else same.detail.get("failed"))


def _verdict(made: Event, now: str | None) -> Verdict:
    return Verdict(
        server=str(made.server), check=call_text(made.detail["call"]), then=made.detail.get("failed"), now=now
    )


def _judged_again(events: Sequence[Event], call: Mapping[str, Any]) -> str | None:
    """Why the check fails now; None when it passes."""
    if call["method"] not in checks.__all__:
        return f"there is no {call['method']}"
    try:
        getattr(checks, call["method"])(events, *call["arguments"], **{**call["options"], "soft": False})
    except AssertionError as error:
        return str(error)
    except TypeError as error:  # of another version of the kit
        return f"it cannot be made: {error}"
    return None
