"""What became of the requests that were under way when their model was unloaded, or the server stopped."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import by_server, moves, requests
from pytest_mme.timeline.wording import counted, outcomes


@fails_at_the_call
def check_drained(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless every request that was under way when its model was unloaded, or the server stopped, succeeded."""
    with softly(soft):
        under_way = [event for server in by_server(events) for event in _under_way(server)]
        if not under_way:
            raise AssertionError("no request was under way at an unload or a stop, so there is nothing to judge")
        lost = [event for event in under_way if event.outcome != "ok"]
        if lost:
            raise AssertionError(
                f"{len(lost)} of {counted(len(under_way), 'request')} under way were lost: {outcomes(lost)}"
            )


def _under_way(events: Sequence[Event]) -> list[Event]:
    """The requests to one server that were under way when the unload of their model, or a stop, began."""
    stops = [event for event in events if event.kind == "stop"]
    began: defaultdict[str | None, list[float]] = defaultdict(list)
    for end in sorted([*moves(events, "unload"), *stops], key=lambda event: event.began_s):
        began[end.model].append(end.began_s)

    def interrupted(request: Event, times: Sequence[float]) -> bool:
        later = bisect.bisect_right(times, request.began_s)
        return later < len(times) and times[later] < request.at_s

    return [
        event
        for event in requests(events)
        if any(interrupted(event, began[model]) for model in (event.model, None))  # a stop, which names none, ends all
    ]
