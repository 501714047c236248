"""What was observed of requests and moves: several observers report the same one, and one of them is believed.

Each server is read by itself: the kit's own calls may be known of one, and of another only what boto3 clients did.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from pytest_mme.timeline.events import NO_ANSWER, NO_PREDICTION, Event, Kind, Source
from pytest_mme.timeline.wording import Named, name_of

LOADED = ("ok", "409")
"""The outcomes of a load after which the model is in memory."""
SAME_MOMENT_S = 0.005
"""Moments less than this apart have no known order: CPython lets another thread run for as long before it records.

Source: `sys.getswitchinterval`.
"""
Span = tuple[float, float]
"""When something began and when it ended, in seconds of the timeline."""
_View = Callable[[Sequence[Event]], list[Event]]
_PLATFORM: tuple[Source, ...] = ("hosting", "client", "server")
_BAD_REQUEST = ("400", "413", "415", "422")
"""The statuses with which a server refuses a request for what is in it. Source: RFC 9110, 15.5."""

_TRIED_AGAIN = ("429", "5", NO_ANSWER)
"""How the outcomes begin after which boto3 tries again by itself; a `ModelError`, status 424, is none of them.

Source: botocore, `retries/standard.py` and `data/_retry.json`.
"""


def by_server(events: Iterable[Event]) -> list[list[Event]]:
    """The events of each server or endpoint; two of them may serve models of one name."""
    found: defaultdict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        found[event.server].append(event)
    return list(found.values())


def by_instance(events: Iterable[Event]) -> list[list[Event]]:
    """The events of each instance of each server, with those of the server that name no instance."""
    return [one for server in by_server(events) for one in _of_instances(server)]


def _of_instances(events: Sequence[Event]) -> list[list[Event]]:
    instances = dict.fromkeys(event.instance for event in events if event.instance is not None)
    return [[event for event in events if event.instance in (None, one)] for one in instances] or [list(events)]


def requests(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests to *models*, or to all, as their callers saw them: the kit's own calls, and those of boto3 clients.

    The tries of one call of a boto3 client are one request, which ended as the last of them did.
    """
    return _of_each(events, models, _as_callers_saw)


def served(events: Iterable[Event], models: Collection[Named | str] = ()) -> list[Event]:
    """The requests that reached a process of their model, from when it had them; only the server itself sees that."""
    return _of_each(events, models, _at_work)


def hosted(events: Iterable[Event]) -> list[Event]:
    """The requests to one server as the platform saw them, each try by itself, or else their callers."""
    events = list(events)
    return [event for event in events if event.kind == "attempt"] or _as_callers_saw(events)


def is_bad_request(event: Event) -> bool:
    """Whether a request was refused for what was in it, which is no failure of a model.

    It is one after all where the kit knows what the model must predict for it.
    """
    return "expected" not in event.detail and str(event.detail.get("status", event.outcome)) in _BAD_REQUEST


def _of_each(events: Iterable[Event], models: Collection[Named | str], view: _View) -> list[Event]:
    names = {name_of(model) for model in models}
    seen = [event for one in by_server(events) for event in view(one) if not names or event.model in names]
    return sorted(seen, key=lambda event: event.at_s)


def _as_callers_saw(events: Sequence[Event]) -> list[Event]:
    ours = _invokes(events, "test", "client")
    theirs = calls([event for event in events if event.kind == "attempt"])
    return [*ours, *_of_others(theirs, ours)] or _invokes(events, "server")


def _invokes(events: Iterable[Event], *sources: Source) -> list[Event]:
    return [event for event in events if event.kind == "invoke" and event.source in sources]


def _at_work(events: Sequence[Event]) -> list[Event]:
    seen = _invokes(events, "server")
    timed = [event for event in seen if "worked_s" in event.detail]
    return [_as_worked(event) for event in timed] or [event for event in seen if event.outcome == "ok"]


def _as_worked(event: Event) -> Event:
    ended_s = event.began_s + event.detail["queued_s"] + event.detail["worked_s"]
    return dataclasses.replace(event, at_s=ended_s, seconds=event.detail["worked_s"])


def calls(attempts: Iterable[Event]) -> list[Event]:
    """The calls that boto3 clients made by their *attempts*, each an attempt that lasted from the first try to the last.

    Tries of one call have the same `invocation`; where that was not recorded, the second try of a model's is the next
    one that calls itself the second, and so on.
    """
    found: list[list[Event]] = []
    by_invocation: dict[str, list[Event]] = {}
    waiting: defaultdict[tuple[str | None, int], list[list[Event]]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda event: (event.began_s, event.at_s)):
        invocation, number = attempt.detail.get("invocation"), _number(attempt)
        if invocation is None:
            tried = [one for one in waiting[attempt.model, number - 1] if _may_continue(one[-1], attempt)]
            call = max(reversed(tried), key=_is_tried_again, default=[])
            if call:
                waiting[attempt.model, number - 1].remove(call)
            waiting[attempt.model, number].append(call)
        else:
            call = by_invocation.setdefault(invocation, [])
        if not call:
            found.append(call)
        call.append(attempt)
    return [_as_one(call) for call in found]


def _as_one(tries: Sequence[Event]) -> Event:
    """A call of one try or more, in their order."""
    first, last = tries[0], tries[-1]
    return first if first is last else dataclasses.replace(last, seconds=last.at_s - first.began_s)


def _may_continue(before: Event, attempt: Event) -> bool:
    """Whether a client that failed with the try *before* may then have made *attempt*."""
    return before.outcome != "ok" and before.at_s <= attempt.began_s + SAME_MOMENT_S


def _is_tried_again(call: Sequence[Event]) -> bool:
    """Whether boto3 tries again by itself after what its last try came to; the team's code may do so after anything."""
    return call[-1].outcome.startswith(_TRIED_AGAIN)


def _number(attempt: Event) -> int:
    """Which try of its call it is. Source: botocore's header ``amz-sdk-request``, ``attempt=2; max=5``."""
    text = str(attempt.detail.get("attempt") or "").partition("attempt=")[2].partition(";")[0].strip()
    return int(text) if text.isdecimal() else 1


def _of_others(theirs: Sequence[Event], ours: Sequence[Event]) -> list[Event]:
    """Those calls of boto3 clients that are not the kit's own: these have the `request` of their reply, where one came."""
    known = {event.detail["request"] for event in ours if event.detail.get("request")}
    left = [call for call in theirs if call.detail.get("request") not in known]
    of_model: defaultdict[str | None, list[Event]] = defaultdict(list)
    for call in sorted(left, key=_began_s):
        of_model[call.model].append(call)
    ours_too: set[int] = set()
    for call in sorted((one for one in ours if not one.detail.get("request")), key=lambda event: event.at_s):
        begun = _begun_during(call, of_model[call.model])
        inside = [other for other in begun if id(other) not in ours_too and _may_be(other, call)]
        if inside:
            ours_too.add(id(max(inside, key=lambda other: other.seconds or 0.0)))
    return [call for call in left if id(call) not in ours_too]


def _begun_during(call: Event, others: Sequence[Event]) -> Sequence[Event]:
    """Those of *others*, in the order in which they began, that began while *call* lasted."""
    first = bisect.bisect_left(others, call.began_s - SAME_MOMENT_S, key=_began_s)
    return others[first : bisect.bisect_right(others, call.at_s + SAME_MOMENT_S, key=_began_s)]


def _began_s(event: Event) -> float:
    return event.began_s


def _may_be(other: Event, call: Event) -> bool:
    """Whether a boto3 client's call to the same model may be the kit's, which lasts a little longer and ends as it does."""
    succeeded = call.outcome in ("ok", NO_PREDICTION)
    ended_alike = call.outcome == NO_ANSWER or succeeded is (other.outcome == "ok")
    return ended_alike and other.at_s <= call.at_s + SAME_MOMENT_S


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same times in order, those that overlap or touch as one."""
    found: list[Span] = []
    for began_s, ended_s in sorted(spans):
        if found and began_s <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], ended_s)
        else:
            found.append((began_s, ended_s))
    return found


def evictions(events: Iterable[Event]) -> list[Event]:
    """The evictions that were carried out, in the order in which they were decided."""
    found = [event for event in events if event.kind == "evict" and event.outcome == "ok"]
    return sorted(found, key=decided_s)


def decided_s(eviction: Event) -> float:
    """When an eviction was decided; where the platform did not record that, when it began."""
    return float(eviction.detail.get("decided_s", eviction.began_s))


def moves(events: Iterable[Event], *kinds: Kind) -> list[Event]:
    """Downloads, loads, unloads or evictions as the platform saw them, or else the client that asked, or else the server."""
    found: list[Event] = []
    for one in by_server(event for event in events if event.kind in kinds):
        seen_by = next((source for source in _PLATFORM if any(event.source == source for event in one)), None)
        found += [event for event in one if event.source == seen_by]
    return sorted(found, key=lambda event: event.at_s)


class Loads:
    """When models had been loaded."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._ends: defaultdict[tuple[str | None, str | None], list[float]] = defaultdict(list)
        for event in moves(events, "load"):
            if event.outcome in LOADED:
                self._ends[event.server, event.model].append(event.at_s)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def waited_for(self, request: Event) -> bool:
        """Whether the model was loaded while *request* was under way, so that it was not in memory when the request came."""
        return self.ended(request.server, request.model, request.began_s, request.at_s)

    def waited_for_first(self, request: Event) -> bool:
        """Whether *request* waited for the first load of its model; a later load is one that others made necessary."""
        ends = self._ends.get((request.server, request.model), [])
        return bool(ends) and request.began_s <= ends[0] <= request.at_s

    def ended(self, server: str | None, model: str | None, began_s: float, at_s: float) -> bool:
        """Whether a load of *model* on *server* ended in that time."""
        return self.last(server, model, began_s, at_s) is not None

    def last(self, server: str | None, model: str | None, began_s: float, at_s: float) -> float | None:
        """When the last load of *model* on *server* that ended in that time did so."""
        ends = self._ends.get((server, model), [])
        found = bisect.bisect_right(ends, at_s) - 1
        return ends[found] if found >= 0 and ends[found] >= began_s else None
