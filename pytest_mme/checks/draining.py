"""What became of the requests that were under way when their model was unloaded, or the server stopped."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import SAME_MOMENT_S, by_server, is_bad_request, moves, requests
from pytest_mme.timeline.wording import counted, outcomes


@fails_at_the_call
def check_drained(events: Iterable[Event], *, soft: bool = False) -> None:
    """Fail unless every request that was under way when its model was unloaded, or the server stopped, was answered.

    A model's own refusal of what it was sent (400, 413, 415, 422) is an answer; any other failure is a request lost. A
    boto3 client's call is lost when its last try is.

    Seen by: the callers; the unload by the platform, or else the client that asked for it, or else the server.
    Reads: `invoke`, `attempt`, `unload` and `stop` events.
    Nothing to judge: no request was under way when an unload or a stop began; 5 ms around its beginning do not count.
    Cannot see: a request that no client of this test made; a reply that came back wrong (`check_answers` does).
    """
    with softly(soft):
        under_way = [event for server in by_server(events) for event in _under_way(server)]
        if not under_way:
            raise AssertionError("no request was under way at an unload or a stop, so there is nothing to judge")
        lost = [event for event in under_way if event.outcome != "ok" and not is_bad_request(event)]
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
        later = bisect.bisect_right(times, request.began_s + SAME_MOMENT_S)
        return later < len(times) and times[later] < request.at_s

    return [
        event
        for event in requests(events)
        if any(interrupted(event, began[model]) for model in (event.model, None))  # a stop, which names none, ends all
    ]
