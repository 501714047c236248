"""The short sections of a failing test's report: what happened around the failure, and the end of the servers' logs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_mme.report.sections import Logged, log_of, memory_sentence, samples_of
from pytest_mme.serving.logs import for_people
from pytest_mme.timeline.calls import details_text
from pytest_mme.timeline.events import UNDER_WAY, Event, Timeline
from pytest_mme.timeline.observed import LOADED, moves, requests
from pytest_mme.timeline.residency import DEATHS

AROUND = 5
"""How many events are shown around the failure."""
_BEFORE = 3
_LEAST_LOG, _MOST_LOG = 2, 10
_LOADS, _FAILURES, _SERVERS = 2, 2, 3
_WIDTH = 118
_WITHIN_S = 0.02  # a message gives times to two digits
_AT = re.compile(r"\bat (\d+\.\d+) s\b")
_IDENTIFIER = re.compile(r"\b[0-9a-f]{32}\b")
_ASKED = ("invoke", "attempt")
_OBSERVED = ("sample", "ping", "download", "load", "unload", "evict", *_ASKED)


def short_sections(
    timeline: Timeline, servers: Sequence[Logged], *, failure: str, lines: int, loud: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """Return title and text of each section, in about so many *lines*, titles included; empty ones are left out.

    *failure*: the message of the failed test, whose times say where to look. *loud*: the servers whose logs are shown
    with TensorFlow's start-up lines.
    """
    loud = set(loud)
    logs = {server.name: log_of(server) for server in servers}  # also gets its last events
    unfinished = [event for server in servers for event in server.unfinished]
    found = [("mme timeline", _around([*timeline, *unfinished], failure, timeline))]
    found += [("mme load", _loads(timeline))]
    found += [("mme memory", _memory(timeline, servers))]
    lines -= sum(1 + text.count("\n") + 1 for _, text in found if text)
    for name, log in _with_the_failing_first(logs, timeline):
        shown = [named(line, timeline) for line in for_people(log, loud=name in loud)]
        most = min(_MOST_LOG, lines - 1)
        if shown and lines > _LEAST_LOG:
            found.insert(-1, (f"mme server log of {name}", "\n".join(shown[-most:])))
            lines -= 1 + len(shown[-most:])
    return [(title, text) for title, text in found if text]


def named(text: str, timeline: Timeline) -> str:
    """Return *text* with the models' names in place of the ids that servers know them by."""
    return _IDENTIFIER.sub(lambda found: timeline.named_in(found[0]) or found[0], text)


def story(events: Iterable[Event]) -> list[Event]:
    """Return what happened, each thing once: several observers report one request or one load."""
    events = list(events)
    told = {id(one) for one in (*requests(events), *moves(events, "download", "load", "unload", "evict"))}
    return [event for event in events if id(event) in told or (event.kind not in _OBSERVED and not _judges(event))]


def reason(event: Event, events: Iterable[Event] = ()) -> str:
    """Return why something failed, in words; of a request also what another observer of it among *events* has seen."""
    if event.kind in DEATHS:
        return str(event.detail.get("end") or event.detail.get("what") or "")
    if event.kind not in _OBSERVED:
        return details_text(event, hidden=("summary",))
    error = event.detail.get("error")
    if error is None and event.kind in _ASKED and event.outcome != "ok":
        seen = (one for one in events if one.kind in _ASKED and _is_part(one, event) and "error" in one.detail)
        error = next((one.detail["error"] for one in seen), None)
    return "" if error is None else _message(error)


def _judges(event: Event) -> bool:
    """Whether it marks a check, whose failure is the test's own message, or a load, which has a section of its own."""
    return event.kind == "mark" and ("call" in event.detail or "summary" in event.detail)


def _is_part(one: Event, request: Event) -> bool:
    return (one.server, one.model) == (request.server, request.model) and (
        request.began_s <= one.at_s <= request.at_s and one.outcome != "ok"
    )


def _message(error: Any) -> str:
    """The text of an error, which a server sends as JSON."""
    try:
        return str(json.loads(error)["error"])
    except (TypeError, ValueError, KeyError):
        return str(error)


@dataclasses.dataclass(frozen=True)
class _Row:
    """An event, or the last of several requests in a row that are alike."""

    event: Event
    times: int = 1

    def joined(self, later: Event) -> _Row | None:
        """This row with a *later* request that ended in the same way; None for anything else."""
        alike = all(
            getattr(self.event, name) == getattr(later, name) for name in ("kind", "server", "model", "outcome")
        )
        return _Row(later, self.times + 1) if alike and later.kind in _ASKED else None

    def columns(self, *, several_servers: bool) -> tuple[str, ...]:
        event = self.event
        kind = {"attempt": "invoke", "oom": "out of memory"}.get(event.kind, event.kind)
        took = "" if event.seconds is None else f"{event.seconds * 1e3:.0f} ms"
        outcome = f"{event.outcome}, {self.times} times" if self.times > 1 else event.outcome
        server = (event.server or "",) if several_servers else ()
        return (f"{event.at_s:7.3f} s", *server, kind, event.model or "-", outcome, took.rjust(8))


def _around(events: Sequence[Event], failure: str, timeline: Timeline) -> str:
    told = story(events)
    if not told:
        return ""
    looked_at = _looked_at(told, failure)
    rows = _rows(told, looked_at)
    place = next(number for number, row in enumerate(rows) if row.event is looked_at)
    end = min(len(rows), max(AROUND, place + AROUND - _BEFORE))
    shown = rows[max(0, end - AROUND) : end]
    several = len({event.server for event in told if event.server}) > 1
    columns = [row.columns(several_servers=several) for row in shown]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    texts = []
    for row, column in zip(shown, columns, strict=True):
        text = "  ".join(part.ljust(width) for part, width in zip(column, widths, strict=True))
        texts.append(_line(f"{text}  {reason(row.event, events)}", timeline))
    if end == len(rows):
        texts.append(f"{timeline.now_s():7.3f} s  the test has failed")
    left_out = len(told) - sum(row.times for row in shown)
    return "\n".join([*texts, *([f"(and {left_out} more: --mme-evidence=full)"] if left_out else [])])


def _rows(told: Sequence[Event], looked_at: Event) -> list[_Row]:
    """Return a row for each event, or for several in a row that are alike; the one to look at is the last of its row."""
    rows: list[_Row] = []
    for event in told:
        joined = rows[-1].joined(event) if rows and rows[-1].event is not looked_at else None
        if joined:
            rows[-1] = joined
        else:
            rows.append(_Row(event))
    return rows


def _line(text: str, timeline: Timeline) -> str:
    """Return a line of a section: with models' names, without line breaks, and not too long."""
    text = named(text.replace("\n", " "), timeline).rstrip()
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


def _looked_at(told: Sequence[Event], failure: str) -> Event:
    """Return the event that the failure is about: one at a time that its message names, or else the last that went wrong.

    Where nothing went wrong, that is a call that has not ended.
    """
    for time_s in map(float, _AT.findall(failure)):
        nearest = min(told, key=lambda event: abs(event.at_s - time_s))
        if abs(nearest.at_s - time_s) <= _WITHIN_S:
            return nearest
    wrong = [event for event in told if went_wrong(event)]
    deaths = [event for event in wrong if event.kind in DEATHS]
    ended = [event for event in wrong if event.outcome != UNDER_WAY]
    return (deaths[-1:] or ended[-1:] or wrong[-1:] or told[-1:])[0]


def went_wrong(event: Event) -> bool:
    """Whether it is a death, or something that failed."""
    if event.kind in ("fault", "mark", "deviation"):
        return False
    return event.kind in DEATHS or event.outcome not in LOADED


def _loads(timeline: Timeline) -> str:
    """Describe the loads that `mme_traffic` has sent: counts, latencies, and the first requests that failed."""
    events = list(timeline)
    found = list[str]()
    for mark in [event for event in events if event.kind == "mark" and "summary" in event.detail][-_LOADS:]:
        found.append(str(mark.detail["summary"]))
        during = [
            one for one in requests(events) if one.server == mark.server and mark.began_s <= one.at_s <= mark.at_s
        ]
        for one in [one for one in during if one.outcome != "ok"][:_FAILURES]:
            why = reason(one, events) or "without a reason"
            found.append(_line(f"  {one.at_s:.3f} s  {one.model} {one.outcome}: {why}", timeline))
    return "\n".join(found)


def _memory(timeline: Timeline, servers: Sequence[Logged]) -> str:
    samples = {server.name: samples_of(timeline, server.name) for server in servers}
    measured = {name: of_one for name, of_one in samples.items() if of_one}
    names = {name: f"{name}: " if len(measured) > 1 else "" for name in measured}
    shown = [f"{names[name]}{memory_sentence(of_one)}" for name, of_one in measured.items()]
    return "\n".join(shown[-_SERVERS:])


def _with_the_failing_first(logs: dict[str, str], timeline: Timeline) -> list[tuple[str, str]]:
    failing = {event.server for event in timeline if went_wrong(event)}
    return sorted(logs.items(), key=lambda one: one[0] not in failing)
