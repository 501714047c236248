"""Report sections: a failing test's timeline, its servers' logs, their memory."""

from __future__ import annotations

from collections.abc import Sequence
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


def sections(timeline: Timeline, servers: Sequence[Logged]) -> list[tuple[str, str]]:
    """Title and text of each section."""
    logs = [(f"mme server log of {server.name}", _last_words(server)) for server in servers]  # its last events, too
    found = [("mme timeline", _end_of(list(map(line, timeline))))]
    for server, log in zip(servers, logs, strict=True):
        found.append(log)
        if samples := [event for event in timeline if event.kind == "sample" and event.server == server.name]:
            found.append((f"mme memory of {server.name}", _end_of(list(map(_memory, samples)))))
    return [(title, text) for title, text in found if text]


def _last_words(server: Logged) -> str:
    """Its log, when its last events have arrived; why it cannot be had, where the test has broken that, too."""
    try:
        return _end_of(server.log.splitlines())
    except Exception as error:  # noqa: BLE001  the test has failed already; this must not end the session
        return f"it cannot be read any more: {type(error).__name__}: {error}"


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
