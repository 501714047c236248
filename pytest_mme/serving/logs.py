"""The embedded server's log: one JSON line for each event and each message.

The output of TensorFlow and of user code comes between them, unchanged.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

from pytest_mme.timeline.events import Event

_UNLOGGED = {"mark"}  # the kit's own plumbing


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


def _at(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, timezone.utc).isoformat(timespec="milliseconds")
