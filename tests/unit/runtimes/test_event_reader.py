"""What is read from a server's lines, and when a thread that catches up may go on."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import NoAnswerError, NotReadyError
from pytest_mme.runtimes import event_reader
from pytest_mme.runtimes.event_reader import EventReader
from pytest_mme.timeline import events
from pytest_mme.timeline.events import Timeline

SOON_S = 5.0
INSTANT_S = 0.05


def ready(**facts: Any) -> bytes:
    return json.dumps({"ready": {"clock": events.clock(), **facts}}).encode()


def line(kind: str, *, at_s: float = 0.0, **fields: Any) -> bytes:
    return json.dumps({"kind": kind, "source": "server", "at_s": at_s, **fields}).encode()


def loaded(model: str, pid: int) -> bytes:
    return line("load", model=model, detail={"pid": pid})


def marked(token: str) -> bytes:
    return line("mark", detail={"token": token})


class Marker:
    """The client of a server; a test decides what happens when it is asked for a mark."""

    def __init__(self, reply: Callable[[str], object]) -> None:
        self.mark = reply


def client(reply: Callable[[str], object]) -> ContractClient:
    return cast("ContractClient", Marker(reply))


def marking_client(reader: EventReader) -> ContractClient:
    """The client of a server that writes the mark before it replies."""
    return client(lambda token: reader.read(marked(token)))


def no_reply() -> NoAnswerError:
    return NoAnswerError("POST /pytest-mme/mark", 0.0, ConnectionRefusedError(), timed_out=False)


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def reader(timeline: Timeline) -> EventReader:
    return EventReader(timeline, "s")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for the event of a load."""
    monkeypatch.setattr(event_reader, "_ARRIVES_S", 0.01)


# Lines


def test_an_event_is_recorded_under_the_servers_name_on_the_timeline(reader: EventReader, timeline: Timeline) -> None:
    assert reader.read(line("load", server="its own", model="m", seconds=0.5, detail={"bytes": 7}))
    (event,) = timeline
    assert (event.kind, event.source, event.server, event.model) == ("load", "server", "s", "m")
    assert (event.seconds, event.detail) == (0.5, {"bytes": 7})


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"loading the vocabulary",
        b"\xff\xfe",
        b"5",
        b"null",
        b'"already"',
        b'["ready"]',
        b"{}",
        b'{"ready": true}',
        b'{"loss": 0.5}',
        b'{"kind": "load", "source": "server"}',
        b'{"kind": "load", "source": "server", "at_s": 1, "epoch": 3}',
        b'{"kind": "epoch", "source": "server", "at_s": 1}',
        b'{"kind": "load", "source": "tensorflow", "at_s": 1}',
        b'{"kind": [], "source": "server", "at_s": 1}',
        b'{"kind": "load", "source": "server", "at_s": "now"}',
        b'{"kind": "load", "source": "server", "at_s": 1, "model": "m", "detail": null}',
    ],
    ids=repr,
)
def test_a_printed_line_is_not_an_event(reader: EventReader, timeline: Timeline, printed: bytes) -> None:
    assert not reader.read(printed)
    assert (len(timeline), reader.facts, reader.ahead_s) == (0, {}, 0.0)


def test_events_of_other_tests_models_on_a_shared_server_are_not_recorded(timeline: Timeline) -> None:
    reader = EventReader(timeline, "s", is_mine={"mine"}.__contains__)
    for model in ("mine", "theirs", None):
        assert reader.read(line("crash", model=model))
    assert {event.model for event in timeline} == {"mine", None}
    assert len(timeline) == 2


def test_marks_are_not_recorded(reader: EventReader, timeline: Timeline) -> None:
    assert reader.read(marked("another's"))
    reader.catch_up(marking_client(reader))
    assert len(timeline) == 0


# Clocks


def test_a_server_of_the_same_boot_has_the_same_clock(reader: EventReader, timeline: Timeline) -> None:
    reader.read(ready(clock={**events.clock(), "now_s": 0.0}))  # what it shows there does not matter
    assert reader.ahead_s == 0.0
    reader.read(line("ping", at_s=timeline.began_monotonic_s + 2.5))
    (event,) = timeline
    assert event.at_s == pytest.approx(2.5)


@pytest.mark.parametrize("now_s", [100.0, 1e9], ids=["booted later", "booted earlier"])
def test_times_of_another_boots_clock_are_converted(reader: EventReader, timeline: Timeline, now_s: float) -> None:
    before_s = timeline.now_s()
    reader.read(ready(clock={"boot": "another", "now_s": now_s}))
    after_s = timeline.now_s()
    reader.read(line("ping", at_s=now_s + 3.0))
    (event,) = timeline
    assert before_s - 1e-3 <= event.at_s - 3.0 <= after_s + 1e-3


def test_times_are_converted_where_boots_have_no_id(
    reader: EventReader, timeline: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_boot", lambda: None)
    before_s = timeline.now_s()
    reader.read(ready(clock={"boot": None, "now_s": 100.0}))
    after_s = timeline.now_s()
    reader.read(line("ping", at_s=100.0))
    (event,) = timeline
    assert before_s - 1e-3 <= event.at_s <= after_s + 1e-3


def test_a_restarted_server_may_have_another_clock(reader: EventReader) -> None:
    reader.read(ready(clock={"boot": "another", "now_s": 100.0}))
    assert reader.ahead_s != 0.0
    reader.read(ready())
    assert reader.ahead_s == 0.0


def test_the_clock_offset_can_be_taken_over_from_another_reader(reader: EventReader, timeline: Timeline) -> None:
    reader.ahead_s = 50.0
    reader.read(line("ping", at_s=timeline.began_monotonic_s - 49.0))
    (event,) = timeline
    assert event.at_s == pytest.approx(1.0)


# Facts


def test_the_first_line_gives_the_facts_and_is_not_an_event(reader: EventReader, timeline: Timeline) -> None:
    assert reader.read(ready(version="2.16"))
    assert reader.await_facts(gone=lambda: None)["version"] == "2.16"
    assert reader.facts["version"] == "2.16"
    assert len(timeline) == 0


def test_waiting_for_the_facts_of_an_ended_server_raises_why_it_ended(reader: EventReader) -> None:
    with pytest.raises(NotReadyError, match=r"first line, which describes it.*\n.*it ended with code 3"):
        reader.await_facts(gone=lambda: "it ended with code 3")


def test_the_facts_of_an_ended_server_are_not_those_of_the_next(reader: EventReader) -> None:
    reader.read(ready(version="2.16"))
    reader.end()
    with pytest.raises(NotReadyError, match="gone"):
        reader.await_facts(gone=lambda: "gone")
    reader.read(ready(version="2.17"))
    assert reader.await_facts(gone=lambda: None)["version"] == "2.17"


# Processes


def test_a_models_process_is_the_one_of_its_latest_load(reader: EventReader) -> None:
    reader.read(loaded("m", 7))
    reader.read(loaded("other", 8))
    assert reader.pid("m", marking_client(reader)) == 7
    reader.read(line("unload", model="m"))
    reader.read(loaded("m", 9))
    assert reader.pid("m", marking_client(reader)) == 9


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("end", ["unload", "crash", "oom"])
def test_a_model_has_no_process_after_an_unload_a_crash_or_a_kill(reader: EventReader, end: str) -> None:
    reader.read(loaded("m", 7))
    reader.read(loaded("other", 8))
    reader.read(line(end, model="m"))
    assert reader.pid("m", marking_client(reader)) is None
    assert reader.pid("other", marking_client(reader)) == 8


@pytest.mark.usefixtures("impatient")
def test_a_model_has_no_process_after_a_restart_of_the_server(reader: EventReader) -> None:
    reader.read(ready())
    reader.read(loaded("m", 7))
    reader.read(ready())
    assert reader.pid("m", marking_client(reader)) is None


@pytest.mark.parametrize(
    "reported",
    [line("crash"), line("invoke", model="m"), line("load", model="m", outcome="409"), line("evict", model="m")],
)
def test_a_model_keeps_its_process_after_an_event_that_does_not_end_it(reader: EventReader, reported: bytes) -> None:
    reader.read(loaded("m", 7))
    reader.read(reported)
    assert reader.pid("m", marking_client(reader)) == 7


@pytest.mark.usefixtures("impatient")
def test_another_tests_model_has_no_process(timeline: Timeline) -> None:
    reader = EventReader(timeline, "s", is_mine=lambda _: False)
    reader.read(loaded("m", 7))
    assert reader.pid("m", marking_client(reader)) is None


@pytest.mark.usefixtures("impatient")
def test_a_model_has_no_process_when_its_crash_is_read_while_catching_up(reader: EventReader) -> None:
    def crash_first(token: str) -> None:
        reader.read(line("crash", model="m"))
        reader.read(marked(token))

    reader.read(loaded("m", 7))
    assert reader.pid("m", client(crash_first)) is None


def test_the_event_of_a_load_may_arrive_after_the_reply_to_it(
    reader: EventReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "_ARRIVES_S", 60.0)
    found: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    asking = threading.Thread(target=lambda: found.put(reader.pid("m", marking_client(reader))), daemon=True)
    asking.start()
    asking.join(timeout=INSTANT_S)
    reader.read(loaded("m", 7))
    assert found.get(timeout=SOON_S) == 7


# Catching up


class CatchingUp:
    """A thread that catches up with a server, which replies at once; the test writes the mark later, or raises *error*."""

    def __init__(self, reader: EventReader, *, error: Exception | None = None) -> None:
        self.token, self._asked, self._error = "", threading.Event(), error
        self._thread = threading.Thread(target=reader.catch_up, args=[client(self._mark)], daemon=True)
        self._thread.start()
        assert self._asked.wait(timeout=SOON_S)

    def _mark(self, token: str) -> None:
        self.token = token
        self._asked.set()
        if self._error:
            raise self._error

    def waits(self) -> bool:
        self._thread.join(timeout=INSTANT_S)
        return self._thread.is_alive()

    def has_caught_up(self) -> bool:
        self._thread.join(timeout=SOON_S)
        return not self._thread.is_alive()


def test_catching_up_waits_for_its_own_mark(reader: EventReader) -> None:
    one = CatchingUp(reader)
    assert one.waits()
    reader.read(marked("another's"))
    reader.read(line("ping"))
    assert one.waits()
    reader.read(marked(one.token))
    assert one.has_caught_up()


def test_each_of_two_threads_that_catch_up_waits_for_its_own_mark(reader: EventReader) -> None:
    one, other = CatchingUp(reader), CatchingUp(reader)
    reader.read(marked(other.token))
    assert other.has_caught_up()
    assert one.waits()
    reader.read(marked(one.token))
    assert one.has_caught_up()


def test_the_end_of_the_stream_releases_every_thread_that_catches_up(reader: EventReader) -> None:
    waiting = [CatchingUp(reader) for _ in range(3)]
    reader.end()
    assert all(one.has_caught_up() for one in waiting)
    assert reader._marks == {}


def test_without_a_reply_catching_up_waits_for_the_end_of_the_stream(reader: EventReader) -> None:
    one = CatchingUp(reader, error=no_reply())
    assert one.waits()
    reader.end()
    assert one.has_caught_up()
    assert reader._marks == {}


@pytest.mark.parametrize("error", [None, no_reply()], ids=["answered", "not answered"])
def test_catching_up_does_not_wait_when_the_stream_has_ended(reader: EventReader, error: Exception | None) -> None:
    reader.end()
    assert CatchingUp(reader, error=error).has_caught_up()
    assert reader._marks == {}


def test_catching_up_waits_again_after_a_restart_of_the_server(reader: EventReader) -> None:
    reader.end()
    reader.read(ready())
    one = CatchingUp(reader)
    assert one.waits()
    reader.read(marked(one.token))
    assert one.has_caught_up()


def test_an_error_leaves_no_mark_behind(reader: EventReader) -> None:
    def fail(_: str) -> None:
        raise ValueError("the client is closed")

    with pytest.raises(ValueError, match="closed"):
        reader.catch_up(client(fail))
    assert reader._marks == {}


@pytest.mark.parametrize(
    "printed",
    [
        b'{"ready": {}}',
        b'{"ready": {"clock": {}}}',
        b'{"kind": "mark", "source": "server", "at_s": 1.0}',
        b"[" * 100_000,
    ],
    ids=lambda printed: printed[:20],
)
def test_a_malformed_line_is_not_an_event(printed: bytes) -> None:
    assert not EventReader(Timeline(), "server").read(printed)
