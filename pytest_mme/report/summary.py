"""Summaries of what servers and endpoints did: requests, hits, evictions, deaths, latencies, slow loads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import LOADED, Loads, evictions, moves, requests
from pytest_mme.traffic.load import histogram

_ROWS = 10
_LOADS = 5
_COLUMNS = ("requests", "failed", "hits", "evicted", "OOMs", "crashes", "p50 ms", "p99 ms")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What one server or endpoint did in one test."""

    server: str
    test: str
    requests: int
    failed: int
    hits: int
    """Requests that succeeded without waiting for a load."""
    evictions: int
    ooms: int
    crashes: int
    p50_ms: float | None
    """Latency of the requests that succeeded, in milliseconds; None when none did."""
    p99_ms: float | None
    loads: Sequence[tuple[str, float]]
    """The slowest loads: model and seconds."""

    @property
    def trouble(self) -> tuple[int, int, float]:
        """The sort key: the largest is shown first."""
        return self.ooms + self.crashes, self.failed, self.p99_ms or 0.0

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Summary:
        """Return the summary that `to_json` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"loads": [(model, seconds) for model, seconds in fields["loads"]]})


def summarised(events: Sequence[Event], *, server: str, test: str) -> Summary:
    """Summarise the events of one server."""
    asked, loads = requests(events), Loads(events)
    good = [event for event in asked if event.outcome == "ok"]
    latencies = histogram(event.seconds or 0.0 for event in good)
    p50, p99 = (latencies.get_value_at_percentile(one) / 1e3 if good else None for one in (50, 99))
    loaded = [event for event in moves(events, "load") if event.outcome in LOADED and event.seconds is not None]
    slowest = sorted(loaded, key=lambda event: -(event.seconds or 0.0))[:_LOADS]
    return Summary(
        server=server,
        test=test,
        requests=len(asked),
        failed=len(asked) - len(good),
        hits=sum(not loads.waited_for(event) for event in good),
        evictions=len(evictions(events)),
        ooms=sum(event.kind == "oom" for event in events),
        crashes=sum(event.kind == "crash" for event in events),
        p50_ms=p50,
        p99_ms=p99,
        loads=[(str(event.model), event.seconds or 0.0) for event in slowest],
    )


class Terminal(Protocol):
    """What is used of pytest's terminal writer."""

    @property
    def fullwidth(self) -> int:
        """The width in characters."""

    def line(self, s: str = "", **markup: bool) -> None:
        """Write a line."""


def show(summaries: Iterable[Summary], terminal: Terminal) -> None:
    """Write a table, those with deaths, failures or slow requests first, and of many only the first."""
    found = sorted(summaries, key=lambda one: one.trouble, reverse=True)
    for text in _table(found[:_ROWS], terminal.fullwidth):
        terminal.line(text.rstrip())
    if len(found) > _ROWS:
        terminal.line(f"  and {len(found) - _ROWS} more; --mme-report=FILE.html has all")
    loads = sorted(((seconds, model, one.test) for one in found for model, seconds in one.loads), reverse=True)
    if loads:
        slowest = ", ".join(f"{model} {seconds * 1e3:.0f} ms" for seconds, model, _ in loads[:_LOADS])
        terminal.line(f"  slowest loads: {slowest}")


def _table(summaries: Sequence[Summary], width: int) -> Iterator[str]:
    """Yield the lines: a row's name stands above its numbers where some name does not fit beside them."""
    rows = [_numbers(one) for one in summaries]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    head, *lines = (
        "  ".join(text.rjust(wide) for text, wide in zip(row, widths, strict=True)) for row in (_COLUMNS, *rows)
    )
    names = [f"{_short(one.test)}, {one.server}" for one in summaries]
    room = width - 1 - len(head)
    if max(map(len, names), default=0) < room:
        yield from (f"{name:{room}}{line}" for name, line in zip(("test, server", *names), (head, *lines), strict=True))
        return
    yield f"{'test, server':{room}}{head}"
    for name, line in zip(names, lines, strict=True):
        yield name if len(name) < width else f"{name[: width - 2]}…"
        yield f"{'':{room}}{line}"


def _numbers(one: Summary) -> tuple[str, ...]:
    counts = (one.requests, one.failed, one.hits, one.evictions, one.ooms, one.crashes)
    latencies = ("-" if ms is None else f"{ms:.1f}" for ms in (one.p50_ms, one.p99_ms))
    return (*map(str, counts), *latencies)


def _short(test: str) -> str:
    """The name of a test and of its case, without its file and class."""
    name, bracket, case = test.partition("[")
    return f"{name.rpartition('::')[2]}{bracket}{case}"
