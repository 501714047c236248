"""What became of the requests that were under way when their model was unloaded, or the server stopped."""

from __future__ import annotations

import bisect
import math
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
            raise AssertionError("no request was under way at an unload or a stop: nothing can be said")
        lost = [event for event in under_way if event.outcome != "ok"]
        if lost:
            raise AssertionError(
                f"{len(lost)} of {counted(len(under_way), 'request')} under way were lost: {outcomes(lost)}"
            )


def _under_way(events: Sequence[Event]) -> list[Event]:
    """The requests to one server that were under way when the unload of their model, or a stop, began."""
    ends = _Ends([*moves(events, "unload"), *(event for event in events if event.kind == "stop")])
    return [event for event in requests(events) if ends.within(event)]


class _Ends:
    """When unloads of models, and stops of all models, began."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._began: defaultdict[str | None, list[float]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.began_s):
            self._began[event.model].append(event.began_s)

    def within(self, request: Event) -> bool:
        """Whether one began while *request* was under way; a stop, which names no model, concerns all."""
        return any(self._first_after(request.began_s, model) < request.at_s for model in (request.model, None))

    def _first_after(self, at_s: float, model: str | None) -> float:
        began = self._began.get(model, [])
        later = bisect.bisect_right(began, at_s)
        return began[later] if later < len(began) else math.inf
