"""The embedded server's log: one JSON line for each event and each message.

The output of TensorFlow and of user code comes between them, unchanged.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from pytest_mme.timeline.events import Event

_UNLOGGED = {"mark"}  # the kit's own plumbing
_PACKAGE = f"{Path(__file__).parent.parent}/"
_LAST_WORDS = "critical: "
_NOISE = re.compile(
    r"^WARNING: All log messages before absl::InitializeLog|oneDNN custom operations are on|failed call to cuInit"
    r"|[Cc]ould not find cuda drivers|cpu_feature_guard|rebuild TensorFlow with the appropriate compiler flags"
)
"""What TensorFlow writes on any machine without a GPU; each of these was seen with a version from 2.12 on."""


class JsonFormatter(logging.Formatter):
    """A message as one JSON line: `at`, `level`, `message`, and the traceback of an `error`, where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {"at": _at(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def event_line(event: Event, at_wall_s: float) -> str | None:
    """An event as one JSON line: `at`, `event`, its fields and its detail; None for an event that is not logged."""
    if event.kind in _UNLOGGED:
        return None
    fields = {"model": event.model, "outcome": event.outcome, "seconds": event.seconds, **event.detail}
    known = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({"at": _at(at_wall_s), "event": event.kind, **known}, default=str)


def readable(line: str) -> str:
    """A line of the log for people: a message without its JSON; every other line unchanged."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict) or "message" not in fields:
        return line
    return "\n".join([f"{fields.get('level')}: {fields['message']}", *filter(None, [fields.get("error")])])


def without_noise(lines: Iterable[str]) -> list[str]:
    """The lines without those that TensorFlow writes at each start, which look like the cause of something."""
    return [line for line in lines if not _NOISE.search(line)]


def for_people(log: str, *, loud: bool = False) -> list[str]:
    """The lines of a log that are no events, readable, and without the frames of this package in tracebacks.

    *loud*: with what TensorFlow writes at each start.
    """
    lines = [line for line in log.splitlines() if not _is_event(line)]
    lines = [part for line in lines for part in readable(line).splitlines()]
    return list(_without_own_frames(lines if loud else without_noise(lines)))


def last_words(lines: Sequence[str]) -> str:
    """The message with which a server gave up, among the lines of its log; empty where there is none."""
    last = max((number for number, line in enumerate(lines) if line.startswith(_LAST_WORDS)), default=None)
    return "" if last is None else "\n".join(lines[last:]).removeprefix(_LAST_WORDS)


def _is_event(line: str) -> bool:
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return isinstance(fields, dict) and "event" in fields and "at" in fields


def _without_own_frames(lines: Iterable[str]) -> Iterator[str]:
    own = False
    for line in lines:
        if line.startswith('  File "'):
            own = line.startswith(f'  File "{_PACKAGE}')
        elif not line.startswith("    "):
            own = False
        if not own:
            yield line


def _at(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")
