"""What a run's servers and endpoints did, a line for each: requests, hits, evictions, deaths, latencies, slow loads."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import LOADED, Loads, moves, requests
from pytest_mme.traffic.load import histogram

_ROWS = 10
_LOADS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """Of one server or endpoint, in one test."""

    server: str
    test: str
    requests: int
    failed: int
    hits: int
    """Requests that were answered by a model that was in memory."""
    evictions: int
    ooms: int
    crashes: int
    p50_ms: float | None
    """Of the requests that succeeded; None where none did."""
    p99_ms: float | None
    loads: Sequence[tuple[str, float]]
    """The slowest, model and seconds."""

    @property
    def trouble(self) -> tuple[int, int, float]:
        """What is told first."""
        return self.ooms + self.crashes, self.failed, self.p99_ms or 0.0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Summary:
        """What `to_json` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"loads": [(model, seconds) for model, seconds in fields["loads"]]})


def summarised(events: Sequence[Event], *, server: str, test: str) -> Summary:
    """What the events of one server say."""
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
        evictions=sum(event.kind == "evict" and event.outcome == "ok" for event in events),
        ooms=sum(event.kind == "oom" for event in events),
        crashes=sum(event.kind == "crash" for event in events),
        p50_ms=p50,
        p99_ms=p99,
        loads=[(str(event.model), event.seconds or 0.0) for event in slowest],
    )


class Terminal(Protocol):
    """pytest's."""

    @property
    def fullwidth(self) -> int:
        """In characters."""

    def line(self, s: str = "", **markup: bool) -> None:
        """Write a line."""


def show(summaries: Iterable[Summary], terminal: Terminal) -> None:
    """Those in trouble and the slow ones first; of many the first only."""
    found = sorted(summaries, key=lambda one: one.trouble, reverse=True)
    written = io.StringIO()
    Console(file=written, width=terminal.fullwidth).print(_table(found[:_ROWS]))
    for text in written.getvalue().splitlines():
        if text.strip():
            terminal.line(text.rstrip())
    if len(found) > _ROWS:
        terminal.line(f"  and {len(found) - _ROWS} more; --mme-report=FILE.html has all")
    loads = sorted(((seconds, model, one.test) for one in found for model, seconds in one.loads), reverse=True)
    if loads:
        told = ", ".join(f"{model} {seconds * 1e3:.0f} ms" for seconds, model, _ in loads[:_LOADS])
        terminal.line(f"  slowest loads: {told}")


def _table(summaries: Iterable[Summary]) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False, expand=True)
    table.add_column("server, test", overflow="ellipsis", no_wrap=True, ratio=1)
    for name in ("asked", "failed", "hits", "evicted", "OOMs", "crashes", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    for one in summaries:
        counts = (one.requests, one.failed, one.hits, one.evictions, one.ooms, one.crashes)
        latencies = ("-" if one is None else f"{one:.1f}" for one in (one.p50_ms, one.p99_ms))
        name = one.test.partition("[")[0].rpartition("::")[2] + "".join(one.test.partition("[")[1:])
        table.add_row(Text(f"{one.server}, {name}"), *map(str, counts), *latencies)
    return table
