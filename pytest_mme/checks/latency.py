"""How long requests took while something else went on, compared with the other requests of the same run."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event, Kind
from pytest_mme.timeline.observed import LOADED, Loads, Span, joined, moves, requests
from pytest_mme.timeline.residency import DEATHS
from pytest_mme.timeline.wording import Named, counted, listed, name_of, names_of, outcomes

_FEW = 10


@fails_at_the_call
def check_no_stall(
    events: Iterable[Event],
    *,
    of: Iterable[Named | str] | Named | str,
    during: Kind | tuple[Kind, ...] = "load",
    factor: float = 3.0,
    soft: bool = False,
) -> None:
    """Fail if requests to the models *of* took more than *factor* times as long, at p99, while *during* went on elsewhere.

    *during*: the kinds of other models' events, such as a load, an eviction, a download; a crash lasts until its model
    is loaded again. It takes ten requests in such times and ten outside of them, without those that waited for the load
    of their own model. A request that fails in such a time counts as stalled.
    """
    with softly(soft):
        events, names = list(events), names_of(of)
        kinds = (during,) if isinstance(during, str) else during
        spans = list(_spans(events, kinds, without=names))
        if not spans:
            raise AssertionError(f"no {' or '.join(kinds)} of another model was recorded, so there is nothing to judge")
        _compare(events, names, spans, f"while others had a {' or '.join(kinds)}", factor, 0.99, "p99")


@fails_at_the_call
def check_fair(
    events: Iterable[Event],
    *,
    hog: Named | str,
    max_ratio: float,
    of: Iterable[Named | str] | Named | str = (),
    max_threads: int | None = None,
    soft: bool = False,
) -> None:
    """Fail if requests to others, or *of* these, took more than *max_ratio* times as long while *hog* had requests.

    Compared, at the median, are requests to the same models while *hog* had none; it takes ten of each, without those
    that waited for the load of their own model. None may fail while *hog* has requests. *max_threads*: how many threads
    the processes of a server's models may have together; the kit's own server counts them after each load and unload.
    """
    with softly(soft):
        events, hogging = list(events), name_of(hog)
        if max_threads is not None:
            _few_threads(events, max_threads)
        spans = [(event.began_s, event.at_s) for event in requests(events, [hogging])]
        if not spans:
            raise AssertionError(f"no request to {hogging} was recorded, so there is nothing to judge")
        requested = {event.model for event in requests(events) if event.model}
        others = names_of(of) if of else sorted(requested - {hogging})
        if not others:
            raise AssertionError(
                f"no request to another model than {hogging} was recorded, so there is nothing to judge"
            )
        _compare(events, others, spans, f"while {hogging} had requests", max_ratio, 0.5, "the median")


def _few_threads(events: Sequence[Event], most: int) -> None:
    samples = [event for event in events if event.kind == "sample" and "threads" in event.detail]
    if not samples:
        raise AssertionError(
            "no sample counts threads: only the kit's own server counts them, and where it may make no memory cgroup "
            "only with memory_mib="
        )
    worst = max(samples, key=lambda event: int(event.detail["threads"]))
    if worst.detail["threads"] > most:
        raise AssertionError(
            f"at {worst.at_s:.2f} s the {worst.detail.get('resident')} models of {worst.server} had "
            f"{worst.detail['threads']} threads; at most {most} may be"
        )


def _compare(
    events: Sequence[Event],
    names: Sequence[str],
    spans: Sequence[Span],
    meanwhile: str,
    factor: float,
    share: float,
    called: str,
) -> None:
    loads, merged = Loads(events), joined(spans)
    judged = [event for event in requests(events, names) if not loads.waited_for(event)]
    inside = [event for event in judged if _overlaps(event, merged)]
    outside = [event for event in judged if event.outcome == "ok" and not _overlaps(event, merged)]
    if failed := [event for event in inside if event.outcome != "ok"]:
        raise AssertionError(
            f"{len(failed)} of {counted(len(inside), 'request')} failed {meanwhile}: {outcomes(failed)}"
        )
    compare(inside, outside, factor, (listed(names), meanwhile), share, called)


def compare(
    inside: Sequence[Event],
    outside: Sequence[Event],
    factor: float,
    described: tuple[str, str],
    share: float,
    called: str,
) -> None:
    """Fail if the latencies *inside* are more than *factor* times those *outside*, or if there are too few of either.

    Compared are the smallest latencies that a *share* of the requests do not exceed. *described*: which models the
    requests were for, and what set *inside* apart, for the message; *called*: what it calls the share.
    """
    names, meanwhile = described
    if min(len(inside), len(outside)) < _FEW:
        raise AssertionError(
            f"{len(inside)} requests to {names} lie {meanwhile}, and {len(outside)} do not: "
            f"it takes {_FEW} of each to compare"
        )
    latencies = (sorted(event.seconds or 0.0 for event in some) for some in (inside, outside))
    then, else_ = (one[math.ceil(share * len(one)) - 1] for one in latencies)
    if then > factor * else_:
        times = f"{then / else_:.1f} times " if else_ else ""
        raise AssertionError(
            f"{meanwhile}, {called} of {len(inside)} requests to {names} was {then * 1e3:.1f} ms, "
            f"{times}the {else_ * 1e3:.1f} ms of {len(outside)} others; at most {factor:g} times may be"
        )


def _spans(events: Sequence[Event], kinds: tuple[Kind, ...], *, without: Sequence[str]) -> Iterable[Span]:
    found = [event for event in events if event.kind in kinds and event.model and event.model not in without]
    loads = [event for event in moves(events, "load") if event.outcome in LOADED]
    for event in found:
        if event.kind in DEATHS:
            again = (load.at_s for load in loads if load.model == event.model and load.at_s > event.at_s)
            yield event.at_s, min(again, default=math.inf)
        else:
            yield event.began_s, event.at_s


def _overlaps(event: Event, merged: Sequence[Span]) -> bool:
    later = bisect.bisect_left(merged, (event.at_s,))  # the first span that begins when the event has ended
    return later > 0 and event.began_s < merged[later - 1][1]
