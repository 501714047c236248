"""Report sections: a failing test's timeline, its servers' logs, their memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pytest_mme.events import Event, Timeline

_MIB = 1024 * 1024
_LINES = 200  # of each section; the timeline in the JUnit report is whole


class Logged(Protocol):
    """A server or an endpoint."""

    @property
    def name(self) -> str:
        """What its events call it."""

    @property
    def timeline(self) -> Sequence[Event]:
        """Its events, the last included."""

    @property
    def log(self) -> str:
        """Its log."""


def sections(timeline: Timeline, servers: Iterable[Logged]) -> list[tuple[str, str]]:
    """Title and text of each section."""
    servers = list(servers)
    for server in servers:
        server.timeline  # noqa: B018  lets its last events arrive
    found = [("mme timeline", _end_of(list(map(line, timeline))))]
    for server in servers:
        found.append((f"mme server log of {server.name}", _end_of(server.log.splitlines())))
        if samples := [event for event in timeline if event.kind == "sample" and event.server == server.name]:
            found.append((f"mme memory of {server.name}", _end_of(list(map(_memory, samples)))))
    return [(title, text) for title, text in found if text]


def line(event: Event) -> str:
    """One event: when, what, of which model, how it came out, how long it took."""
    seconds = "" if event.seconds is None else f"{event.seconds * 1000:9.1f} ms"
    facts = " ".join(f"{name}={value}" for name, value in event.detail.items() if name != "expected")
    return (
        f"{event.at_s:9.3f} s  {event.source:8}{event.kind:10}{event.model or '-':16} {event.outcome:10}{seconds:13}"
        f" {event.server or ''} {facts[:160]}"
    ).rstrip()


def _memory(event: Event) -> str:
    used, limit = event.detail["used_bytes"] / _MIB, event.detail.get("limit_bytes")
    of = f" of {limit / _MIB:.1f}" if limit else ""
    resident = f", {event.detail['resident']} resident" if "resident" in event.detail else ""
    return f"{event.at_s:9.3f} s  {used:8.1f}{of} MiB{resident}"


def _end_of(lines: Sequence[str]) -> str:
    left_out = [f"… {len(lines) - _LINES} lines before"] if len(lines) > _LINES else []
    return "\n".join([*left_out, *lines[-_LINES:]])
