"""The report of a run as one HTML page, which needs no network: what happened to each test's models."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_mme.extras import needs
from pytest_mme.report.matrix import Matrix
from pytest_mme.report.records import Record
from pytest_mme.report.summary import summarised
from pytest_mme.timeline.calls import details_text
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import LOADED, by_server, moves, requests
from pytest_mme.timeline.residency import DEATHS, stays
from pytest_mme.traffic.load import histogram

_PAGE = Path(__file__).with_name("page")
_MIB = 1 << 20
_PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
_ENOUGH = 20
"""How many requests a model needs for percentiles that mean anything; fewer are shown one by one."""
_MOST_ROWS, _MOST_CHARACTERS = 1000, 200
_TROUBLE = ("failed", "error")
_WHOLE = ("fault", "mark", "stop", "restart", "replace")
"""The kinds of events that concern all models, or that a test has marked."""
_UNLISTED = ("sample", "attempt", "invoke")  # except requests that failed
Row = list[Any]


def require() -> None:
    """Import what `page` needs; raises `UnavailableError` where it is missing."""
    with needs("report", "the report's page"):
        import jinja2  # noqa: F401
        import plotly.offline  # noqa: F401


def page(records: Iterable[Record], matrix: Matrix | None, *, head: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    *matrix*: which archive runs on which TensorFlow, where the tests tried several. *head*: lines that say when and how
    the run was made.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    found = sorted(records, key=lambda one: (one.outcome not in _TROUBLE, one.timeline.began_wall))
    data = json.dumps({"percentiles": _PERCENTILES, "tests": list(map(_test, found))}, separators=(",", ":"))
    counted = Counter(one.outcome for one in found)
    return (
        Environment(loader=FileSystemLoader(_PAGE), autoescape=True)
        .get_template("page.html.jinja")
        .render(
            title="multi-model endpoints under test",
            outcomes=", ".join(f"{count} {outcome}" for outcome, count in counted.items()) or "no test used a server",
            css=Markup((_PAGE / "page.css").read_text()),
            js=Markup((_PAGE / "page.js").read_text()),
            plotly=Markup(get_plotlyjs()),
            data=Markup(data.replace("<", "\\u003c")),  # begins and ends no script
            matrix=matrix,
            head=head,
        )
    )


def _test(record: Record) -> dict[str, Any]:
    zero = zero_s(record.timeline)
    events = [dataclasses.replace(event, at_s=event.at_s - zero) for event in record.timeline]
    lanes = list(dict.fromkeys(event.model for event in events if event.model is not None))
    number = {model: place for place, model in enumerate(lanes)}
    latencies = _latencies(events)
    listed = [
        event for event in events if event.kind not in _UNLISTED or (event.kind == "invoke" and event.outcome != "ok")
    ]
    return {
        "id": record.test,
        "outcome": record.outcome,
        "reason": record.reason,
        "zero": round(zero, 3),
        "from": round(min([event.began_s for event in events if event.kind != "start"], default=0.0), 4),
        "models": lanes,
        "servers": [_server(record, name) for name in record.servers],
        "spans": _spans(events, number),
        "marks": {
            "evict": _marks(events, number, "evict"),
            "crash": _marks(events, number, "crash"),
            "out of memory": _marks(events, number, "oom"),
        },
        "whole": [
            [*_span(event), _label(event)]
            for event in events
            if event.kind in _WHOLE or (event.kind in DEATHS and event.model is None)
        ],
        "memory": {name: samples for name in record.servers if (samples := _memory(events, name))},
        "latencies": {model: _percentiles(ms) for model, ms in latencies.items() if len(ms) >= _ENOUGH},
        "few": {model: [round(one, 3) for one in ms] for model, ms in latencies.items() if len(ms) < _ENOUGH},
        "events": list(map(_row, listed[-_MOST_ROWS:])),
        "listed": len(listed),
        "counted": len(events),
        "seconds": round(events[-1].at_s * 1.01, 3) if events else 1,
        "evidence": record.evidence,
    }


def _server(record: Record, name: str) -> Row:
    one = summarised(record.timeline.of(name), server=name, test=record.test)
    counts = [one.server, one.requests, one.failed, one.hits, one.evictions, one.ooms, one.crashes]
    return [*counts, *(None if ms is None else round(ms, 1) for ms in (one.p50_ms, one.p99_ms))]


def _spans(events: Sequence[Event], number: dict[str, int]) -> dict[str, list[Row]]:
    """Return the spans by kind, in order: beginning and end in seconds, the model's number, a label."""
    found: dict[str, list[Row]] = {kind: [] for kind in ("resident", "download", "load", "no room", "invoke", "failed")}
    for event in [*moves(events, "download"), *moves(events, "load"), *requests(events)]:
        if event.model is not None:
            good = event.outcome in LOADED
            kind = "invoke" if event.kind == "attempt" else event.kind
            lane = kind if good else "no room" if (kind, event.outcome) == ("load", "507") else "failed"
            found[lane].append([*_span(event), number[event.model], "" if good else f"{kind} {event.outcome}"])
    for server in by_server(events):
        end_s = max(event.at_s for event in server)
        found["resident"] += [
            [round(stay.came_s, 4), round(min(stay.left_s, end_s), 4), number[stay.model], ""] for stay in stays(server)
        ]
    return {kind: sorted(rows) for kind, rows in found.items()}


def _span(event: Event) -> tuple[float, float]:
    return round(event.began_s, 4), round(event.at_s, 4)


def _marks(events: Iterable[Event], number: dict[str, int], *kinds: str) -> list[Row]:
    found = (event for event in events if event.kind in kinds and event.model is not None)
    return [[round(event.at_s, 4), number[str(event.model)], _label(event)] for event in found]


def _said(event: Event) -> str:
    return "out of memory" if event.kind == "oom" else event.kind


def _label(event: Event) -> str:
    return " ".join(filter(None, (_said(event), event.model, event.outcome)))


def _memory(events: Iterable[Event], server: str) -> dict[str, list[float | None]]:
    """Return a server's memory in use, its limit and its peak over time, in MiB; empty where nothing was measured."""
    samples = [
        event for event in events if event.server == server and event.kind == "sample" and "used_bytes" in event.detail
    ]
    limits = (event.detail.get("limit_bytes") for event in samples)
    measured = {
        "at": [round(event.at_s, 3) for event in samples],
        "used": [round(event.detail["used_bytes"] / _MIB, 1) for event in samples],
        "limit": [limit and round(limit / _MIB, 1) for limit in limits],
        "peak": [peak and round(peak / _MIB, 1) for peak in (event.detail.get("peak_bytes") for event in samples)],
    }
    return measured if samples else {}


def zero_s(events: Iterable[Event]) -> float:
    """Return when the first request was sent, from which the page counts time; 0 where there was none."""
    return min((event.began_s for event in requests(events)), default=0.0)


def _latencies(events: Iterable[Event]) -> dict[str, list[float]]:
    """Return the latencies of each model's successful requests, in milliseconds, in order of time."""
    found: dict[str, list[float]] = {}
    for event in requests(events):
        if event.outcome == "ok" and event.model is not None:
            found.setdefault(event.model, []).append((event.seconds or 0.0) * 1e3)
    return found


def _percentiles(ms: Iterable[float]) -> list[float]:
    latencies = histogram(one / 1e3 for one in ms)
    return [latencies.get_value_at_percentile(one) / 1e3 for one in _PERCENTILES]


def _row(event: Event) -> Row:
    milliseconds = None if event.seconds is None else f"{event.seconds * 1e3:.1f}"
    details = details_text(event)[:_MOST_CHARACTERS]
    at_s = f"{event.at_s:.3f}"
    return [at_s, event.source, _said(event), event.model, event.outcome, milliseconds, event.server, details]
