"""What one model's failure did to the others."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from pytest_mme.checks.answers import why_not_right
from pytest_mme.checks.latency import PERCENTILES, compare
from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import SAME_MOMENT_S, Loads, by_server, is_bad_request, moves, requests
from pytest_mme.timeline.residency import deaths, empties
from pytest_mme.timeline.wording import Named, counted, listed, names_of, some


@fails_at_the_call
def check_isolated(
    events: Iterable[Event],
    *,
    good: Iterable[Named | str] | Named | str,
    bad: Iterable[Named | str] | Named | str,
    max_ratio: float | None = None,
    percentiles: Collection[float] = PERCENTILES,
    soft: bool = False,
) -> None:
    """Fail unless *bad* models failed, at a load, at a request or by dying, and *good* ones still predicted rightly.

    Each of *bad* must have failed, and each of *good* must have had a request on the same server after the first failure
    there. A request that was refused for what was in it (400, 413, 415, 422) is not a failure of its model. *max_ratio*:
    how many times as long the requests to each of *good* may take after that failure as before it, at each of the
    *percentiles*; it takes ten of each. A request that waited because its model had to be loaded again counts.

    Seen by: the callers; loads by the platform, or else the client that asked, or else the server; deaths by whoever
    reports them.
    Reads: `invoke`, `attempt`, `load`, `crash` and `oom` events.
    Nothing to judge: one of *bad* did not fail, one of *good* was not asked on that server since, one is both, or a
    prediction came of which nobody knows whether it is right.
    Cannot see: what other boto3 clients were answered, beyond the status.
    """
    with softly(soft):
        events = list(events)
        well, ill = names_of(good), names_of(bad)
        if both := sorted({*well} & {*ill}):
            raise AssertionError(f"{listed(both)} is named as good and as bad")
        servers = [(server, [one for one in _failures(server) if one.model in ill]) for server in by_server(events)]
        failed = {one.model for _, failures in servers for one in failures}
        if missing := [name for name in ill if name not in failed]:
            raise AssertionError(f"{listed(missing)} did not fail, so there is nothing to judge")
        judged = [(server, _first(failures)) for server, failures in servers if failures]
        after = {one.model for server, first in judged for one in requests(server, well) if one.at_s >= first.at_s}
        if missing := [name for name in well if name not in after]:
            first = judged[0][1]
            raise AssertionError(
                f"{listed(missing)} got no request after {first.model} had failed at {first.at_s:.2f} s"
            )
        taken = [what for server, first in judged for what in _taken_along(server, first, well)]
        if taken:
            raise AssertionError(f"{listed(ill)} took others along: {some(taken, str, between='; ')}")
        if max_ratio is not None:
            for server, first in judged:
                asked = requests(server, well)
                since = [one for one in asked if one.at_s >= first.began_s and one.outcome == "ok"]
                before = [one for one in asked if one.at_s < first.began_s and one.outcome == "ok"]
                names = sorted({str(one.model) for one in since})
                meanwhile = f"after {first.model} had failed"
                compare(since, before, Loads(server), names, meanwhile, max_ratio, percentiles)


def _first(failures: Sequence[Event]) -> Event:
    """The first failure; of several reports of one moment, the one that began first."""
    first_s = min(one.at_s for one in failures)
    return min((one for one in failures if one.at_s <= first_s + SAME_MOMENT_S), key=lambda one: one.began_s)


def _taken_along(events: Sequence[Event], first: Event, well: Sequence[str]) -> Iterator[str]:
    """What happened to good models of one server, or to all, since the *first* failure of a bad one."""
    since_s = first.began_s - SAME_MOMENT_S  # what it took along may be reported first
    for death in deaths(events):
        if death.at_s >= since_s and (death.model in well or empties(death)):
            yield f"{death.model or 'the whole server'} died at {death.at_s:.2f} s"
    meanwhile = [one for one in requests(events, well) if one.at_s >= since_s]
    wrong = [(one, why) for one in meanwhile if not is_bad_request(one) and (why := why_not_right(one))]
    for number, (one, why) in enumerate(wrong):
        judged = f" ({len(wrong)} of {counted(len(meanwhile), 'request')})" if not number else ""
        yield f"{one.model} at {one.at_s:.2f} s: {why}{judged}"


def _failures(events: Sequence[Event]) -> Iterator[Event]:
    """The deaths, failed requests and failed loads of one server; not a load without room, for which room was then made."""
    loads = Loads(events)
    yield from deaths(events)
    yield from (one for one in requests(events) if one.outcome != "ok" and not is_bad_request(one))
    for event in moves(events, "load"):
        made_room = event.outcome == "507" and loads.ended(event.server, event.model, event.at_s, math.inf)
        if event.outcome not in ("ok", "409") and not made_room:
            yield event
