"""How long requests took while something else went on, compared with the other requests of the same run."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import NO_ANSWER, Event, Kind
from pytest_mme.timeline.observed import LOADED, Loads, Span, by_server, is_bad_request, joined, moves, requests
from pytest_mme.timeline.residency import DEATHS, deaths
from pytest_mme.timeline.wording import Named, counted, name_of, names_of, outcomes

_FEW = 10
PERCENTILES = (50.0, 99.0)
"""The typical request, and one of the slowest: of fewer than 100 requests the slowest."""


@fails_at_the_call
def check_no_stall(
    events: Iterable[Event],
    *,
    of: Iterable[Named | str] | Named | str,
    during: Kind | tuple[Kind, ...] = "load",
    factor: float = 3.0,
    percentiles: Collection[float] = PERCENTILES,
    soft: bool = False,
) -> None:
    """Fail if requests to a model *of* took more than *factor* times as long while others of its server had *during*.

    *during*: the kinds of other models' events, such as a load, an eviction, a download; a crash lasts until its model
    is loaded again. Each model is compared with itself on the same server, at each of the *percentiles*. A request that
    waited because its model had to be loaded again counts, since its user waited; the first load of a model does not. A
    request that fails in such a time has stalled, unless it was refused for what was in it.

    Seen by: the callers; *during* by the platform, or else the client that asked, or else the server.
    Reads: `invoke`, `attempt` and `load` events, and those of *during*.
    Nothing to judge: no such event of another model; fewer than ten requests to a model in such times, or outside of them.
    Cannot see: one slow request in a hundred; whether the client itself was slow.
    """
    with softly(soft):
        events, names = list(events), names_of(of)
        kinds = (during,) if isinstance(during, str) else during
        spans = {
            server[0].server: joined(_spans(server, kinds, without=names)) for server in by_server(events) if server
        }
        if not any(spans.values()):
            raise AssertionError(f"no {' or '.join(kinds)} of another model was recorded, so there is nothing to judge")
        _compare(events, names, spans, f"while others had a {' or '.join(kinds)}", factor, percentiles)


@fails_at_the_call
def check_fair(
    events: Iterable[Event],
    *,
    hog: Named | str,
    max_ratio: float,
    of: Iterable[Named | str] | Named | str = (),
    percentiles: Collection[float] = PERCENTILES,
    max_threads: int | None = None,
    soft: bool = False,
) -> None:
    """Fail if requests to another model, or *of* these, took more than *max_ratio* times as long while *hog* had requests.

    Each model is compared with itself on the same server, while *hog* had none there, at each of the *percentiles*. A
    request that waited because its model had to be loaded again counts; the first load of a model does not. None may fail
    while *hog* has requests, unless it was refused for what was in it. *max_threads*: how many threads the processes of a
    server's models may have together; the kit's own server counts them after each load and unload.

    Seen by: the callers; threads by the kit's own server.
    Reads: `invoke`, `attempt`, `load` and `sample` events.
    Nothing to judge: no request to *hog* succeeded, or fewer than ten requests to a model meanwhile, or outside of that.
    Cannot see: one slow request in a hundred; what *hog* does when it has no request.
    """
    with softly(soft):
        events, hogging = list(events), name_of(hog)
        if max_threads is not None:
            _few_threads(events, max_threads)
        of_hog = requests(events, [hogging])
        if not any(event.outcome == "ok" for event in of_hog):
            raise AssertionError(f"no request to {hogging} succeeded, so there is nothing to judge")
        requested = {event.model for event in requests(events) if event.model}
        others = names_of(of) if of else sorted(requested - {hogging})
        if not others:
            raise AssertionError(
                f"no request to another model than {hogging} was recorded, so there is nothing to judge"
            )
        spans: defaultdict[str | None, list[Span]] = defaultdict(list)
        for event in of_hog:
            if event.outcome in ("ok", NO_ANSWER):  # one that was refused took nothing from others
                spans[event.server].append((event.began_s, event.at_s))
        merged = {server: joined(times) for server, times in spans.items()}
        _compare(events, others, merged, f"while {hogging} had requests", max_ratio, percentiles)


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
    spans: Mapping[str | None, Sequence[Span]],
    meanwhile: str,
    factor: float,
    percentiles: Collection[float],
) -> None:
    """Compare requests in *spans*, by server, with those outside of them."""
    on_these = [event for event in requests(events, names) if spans.get(event.server)]
    inside = [event for event in on_these if _overlaps(event, spans[event.server])]
    failed = [event for event in inside if event.outcome != "ok" and not is_bad_request(event)]
    if failed:
        raise AssertionError(
            f"{len(failed)} of {counted(len(inside), 'request')} failed {meanwhile}: {outcomes(failed)}"
        )
    outside = [event for event in on_these if event.outcome == "ok" and not _overlaps(event, spans[event.server])]
    compare(inside, outside, Loads(events), names, meanwhile, factor, percentiles)


def compare(
    inside: Iterable[Event],
    outside: Iterable[Event],
    loads: Loads,
    names: Sequence[str],
    meanwhile: str,
    factor: float,
    percentiles: Collection[float],
) -> None:
    """Fail if a model's latencies *inside* exceed *factor* times those *outside*, or if there are too few of either.

    Each model of *names* is compared with itself on each server. Outside, a request that waited for a load is no measure;
    inside, only one that waited for the first load of its model is not. *meanwhile*: what set *inside* apart, for the
    message.
    """
    then = _latencies(event for event in inside if event.outcome == "ok" and not loads.waited_for_first(event))
    else_ = _latencies(event for event in outside if not loads.waited_for(event))
    enough = [key for key in then if min(len(then[key]), len(else_[key])) >= _FEW]
    for name in names:
        if name not in {model for _, model in enough}:
            most = max((key for key in then if key[1] == name), key=lambda key: len(then[key]), default=(None, name))
            raise AssertionError(
                f"{len(then[most])} requests to {name} lie {meanwhile}, and {len(else_[most])} do not: "
                f"it takes {_FEW} of each to compare"
            )
    if slow := [text for key in enough for text in _slower(key[1], then[key], else_[key], factor, percentiles)]:
        raise AssertionError(f"{meanwhile}, {'; '.join(slow)}; at most {factor:g} times may be")


def _latencies(events: Iterable[Event]) -> defaultdict[tuple[str | None, str], list[float]]:
    """The latencies of requests to each model on each server, in seconds, from the shortest to the longest."""
    found: defaultdict[tuple[str | None, str], list[float]] = defaultdict(list)
    for event in events:
        found[event.server, event.model or ""].append(event.seconds or 0.0)
    for latencies in found.values():
        latencies.sort()
    return found


def _slower(
    name: str, then: Sequence[float], else_: Sequence[float], factor: float, percentiles: Collection[float]
) -> Iterator[str]:
    for percentile in percentiles:
        slow, fast = (one[math.ceil(percentile / 100 * len(one)) - 1] for one in (then, else_))
        if slow > factor * fast:
            times = f"{slow / fast:.1f} times " if fast else ""
            yield (
                f"p{percentile:g} of {len(then)} requests to {name} was {slow * 1e3:.1f} ms, "
                f"{times}the {fast * 1e3:.1f} ms of {len(else_)} others"
            )


def _spans(events: Sequence[Event], kinds: tuple[Kind, ...], *, without: Sequence[str]) -> Iterator[Span]:
    loads = [event for event in moves(events, "load") if event.outcome in LOADED]
    dead = [event for event in deaths(events) if event.kind in kinds]
    moved = [event for kind in kinds if kind not in DEATHS for event in moves(events, kind)]
    for event in (one for one in [*dead, *moved] if one.model and one.model not in without):
        if event.kind in DEATHS:
            again = (load.at_s for load in loads if load.model == event.model and load.at_s > event.at_s)
            yield event.at_s, min(again, default=math.inf)
        else:
            yield event.began_s, event.at_s


def _overlaps(event: Event, merged: Sequence[Span]) -> bool:
    later = bisect.bisect_left(merged, (event.at_s,))  # the first span that begins when the event has ended
    return later > 0 and event.began_s < merged[later - 1][1]
