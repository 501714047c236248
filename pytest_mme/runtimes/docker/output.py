"""What a container prints: its log, and among its lines the events of an embedded server."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_mme.runtimes.docker.engine import close_stream
from pytest_mme.runtimes.event_reader import EventReader
from pytest_mme.serving.logs import for_people

if TYPE_CHECKING:
    from docker.models.containers import Container

_LAST_LINES_S = 5.0


class Output:
    """Reads a container's output in a thread of its own, from the first line on."""

    def __init__(self, container: Container, log: Path, events: EventReader | None) -> None:
        """*events*: reads the events that an embedded server writes to its standard output."""
        self._log, self._events = log, events
        self._stream: Any = container.attach(stdout=True, stderr=True, stream=True, demux=True)
        self._thread = threading.Thread(target=self._read, name=f"output of {container.name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = {"out": b"", "err": b""}
        with (
            self._log.open("ab", buffering=0) as log,
            contextlib.suppress(OSError, ValueError),
        ):  # the stream was closed
            for chunks in self._stream:
                for name, chunk in zip(rest, chunks, strict=True):
                    *lines, rest[name] = (rest[name] + (chunk or b"")).split(b"\n")
                    self._take(lines, log, may_be_events=name == "out")
            self._take(list(filter(None, rest.values())), log, may_be_events=False)
        if self._events:
            self._events.end()

    def _take(self, lines: list[bytes], log: IO[bytes], *, may_be_events: bool) -> None:
        for line in lines:
            if not (may_be_events and self._events and self._events.read(line)):
                log.write(line + b"\n")

    def read_to_end(self) -> None:
        """Read the last lines of a container that has ended."""
        self._thread.join(timeout=_LAST_LINES_S)

    def close(self) -> None:
        """Close the stream."""
        close_stream(self._stream)
        self._thread.join(timeout=_LAST_LINES_S)


def end_of(log: Path, lines: int) -> str:
    """The last lines of a log, as people read them."""
    return "\n".join(for_people(log.read_text(errors="replace"))[-lines:])
