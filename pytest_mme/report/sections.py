"""The sections of a failing test's report: its timeline, its servers' logs, and their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pytest_mme.errors import UnavailableError
from pytest_mme.extras import needs
from pytest_mme.timeline.calls import details_text
from pytest_mme.timeline.events import Event, Timeline

_MIB = 1024 * 1024
_WIDTH, _HEIGHT = 76, 9
_FEW = 2
_MUCH = 1.0  # MiB: a lower peak above the samples has no cause worth a word
_FACTS, _WIDEST = 160, 24
_COLUMNS = {"source": 7, "kind": 8, "model": 8, "outcome": 4}
_LINES = 200  # of each section; the timeline in the JUnit report is whole


class Logged(Protocol):
    """A server or an endpoint."""

    @property
    def name(self) -> str:
        """Its name, which its events have."""

    @property
    def timeline(self) -> Sequence[Event]:
        """Its events, up to the last."""

    @property
    def unfinished(self) -> Sequence[Event]:
        """The calls that have not ended yet."""

    @property
    def log(self) -> str:
        """Its log."""


def sections(timeline: Timeline, servers: Sequence[Logged]) -> list[tuple[str, str]]:
    """Return title and text of each section; empty ones are left out."""
    logs = [  # also gets its last events
        (f"mme server log of {server.name}", _end_of(log_of(server).splitlines())) for server in servers
    ]
    found = [("mme timeline", _end_of(lines(list(timeline))))]
    for server, log in zip(servers, logs, strict=True):
        found.append(log)
        if samples := samples_of(timeline, server.name):
            found.append((f"mme memory of {server.name}", memory(samples)))
    return [(title, text) for title, text in found if text]


def samples_of(timeline: Timeline, server: str) -> list[Event]:
    """Return the measurements of a server's memory."""
    return [event for event in timeline if event.kind == "sample" and event.server == server]


def log_of(server: Logged) -> str:
    """Return its log, after its last events have arrived; or why it cannot be read."""
    try:
        return server.log
    except Exception as error:  # noqa: BLE001  the test has failed already; this must not end the session
        return f"it cannot be read any more: {type(error).__name__}: {error}"


def lines(events: Sequence[Event]) -> list[str]:
    """Return a line for each event: time, source, kind, model, outcome, duration, server and details, in columns."""
    widths = {
        name: min(_WIDEST, max([least, *(len(str(getattr(event, name) or "-")) for event in events)]))
        for name, least in _COLUMNS.items()
    }
    return [_line(event, widths) for event in events]


def line(event: Event) -> str:
    """Return the line of an event while the later ones, and so the columns' widths, are unknown."""
    return _line(event, _COLUMNS)


def _line(event: Event, widths: Mapping[str, int]) -> str:
    columns = "  ".join(str(getattr(event, name) or "-").ljust(width) for name, width in widths.items())
    seconds = "" if event.seconds is None else f"{event.seconds * 1000:.1f} ms"
    facts = details_text(event, hidden=("expected", "x"))
    return f"{event.at_s:9.3f} s  {columns}  {seconds:>11}  {event.server or ''} {facts[:_FACTS]}".rstrip()


def memory_sentence(samples: Sequence[Event]) -> str:
    """Return how much was used at most: by the mark of whoever limits it, where that is higher than every sample."""
    used, limits = _mib(samples, "used_bytes"), _mib(samples, "limit_bytes")
    most, peak = max(range(len(used)), key=used.__getitem__), max(_mib(samples, "peak_bytes"), default=0.0)
    of = f" of {limits[-1]:.1f}" if limits else ""
    at = f"at {samples[most].at_s:.3f} s"
    if peak < used[most] + _MUCH:
        return f"at most {used[most]:.1f}{of} MiB, {at}; {used[-1]:.1f} MiB in the end"
    return f"at most {peak:.1f}{of} MiB, for a moment; the samples saw {used[most]:.1f} MiB, {at}; {used[-1]:.1f} MiB in the end"


def _mib(samples: Sequence[Event], name: str) -> list[float]:
    return [found / _MIB for event in samples if (found := event.detail.get(name)) is not None]


def memory(samples: Sequence[Event]) -> str:
    """Return a chart of the memory in use, with a line at the limit where there is one, and a sentence on its maximum."""
    used, limits, sentence = _mib(samples, "used_bytes"), _mib(samples, "limit_bytes"), memory_sentence(samples)
    if len(samples) < _FEW:
        return sentence
    try:
        with needs("report", "a chart of it"):
            from uniplot import plot_to_string
    except UnavailableError as error:
        return f"{sentence} (a chart of it: {error.advice})"
    chart = plot_to_string(
        ys=used,
        xs=[event.at_s for event in samples],
        lines=True,
        width=_WIDTH,
        height=_HEIGHT,
        y_min=0,
        y_max=1.1 * max([*used, *limits]),
        y_gridlines=sorted({0.0, *limits}),
        y_unit=" MiB",
        x_unit=" s",
        color=False,
    )
    return f"{chart}\n{sentence}"


def _end_of(lines: Sequence[str]) -> str:
    left_out = [f"… {len(lines) - _LINES} lines before"] if len(lines) > _LINES else []
    return "\n".join([*left_out, *lines[-_LINES:]])
