"""The server's stream of events."""

from __future__ import annotations

import json

from pytest_mme.serving.server import EventStream


def test_events_are_delivered_when_the_log_cannot_be_written() -> None:
    def full(_line: str) -> None:
        raise OSError("no space left on device")

    written: list[bytes] = []
    events = EventStream("server", written.append, log=full)
    events.emit("ping")
    events.emit("load")
    events.close()
    assert [json.loads(line)["kind"] for line in written] == ["ping", "load"]
