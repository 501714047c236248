"""Which library should the HTTP front be built on: the same empty POST through each of them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterable, Sequence

from bench.callers import MEASURED_S, answers_s
from bench.fronts import FRONTS, missing
from bench.measure import percentile_ms
from bench.processes import started
from bench.rig import Say

COLUMNS = ("front", "connections", "requests/s", "p50 ms", "p99 ms")
_CONNECTIONS = (1, 4, 16)
_ROUNDS = 5

Figures = tuple[float, float, float]
"""Requests per second, p50, p99."""


def http_fronts(say: Say) -> Sequence[Sequence[str]]:
    """One line for each front and number of connections: the median of several rounds.

    A front starts anew in each round, because where the system puts its process matters as much as the library.
    """
    found: dict[tuple[str, int], list[Figures]] = {}
    for number in range(1, _ROUNDS + 1):
        for name in FRONTS:
            if not missing(name):
                say(f"round {number} of {_ROUNDS}: {name}")
                for connections, figures in _measure(name):
                    found.setdefault((name, connections), []).append(figures)
    measured = [(name, str(connections), *_medians(rounds)) for (name, connections), rounds in found.items()]
    skipped = [(name, "", f"needs {', '.join(absent)}", "", "") for name in FRONTS if (absent := missing(name))]
    return [*measured, *skipped]


def _measure(name: str) -> Iterable[tuple[int, Figures]]:
    with started("bench.fronts", name) as front:
        for connections in _CONNECTIONS:
            seconds = asyncio.run(answers_s(front.port, connections))
            yield connections, (len(seconds) / MEASURED_S, percentile_ms(seconds, 50), percentile_ms(seconds, 99))


def _medians(rounds: Sequence[Figures]) -> tuple[str, str, str]:
    per_second, p50_ms, p99_ms = map(statistics.median, zip(*rounds, strict=True))
    return f"{per_second:.0f}", f"{p50_ms:.2f}", f"{p99_ms:.2f}"
