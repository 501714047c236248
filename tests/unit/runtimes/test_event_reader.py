"""What a server tells of itself line by line, and who may count on having heard it."""

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
from pytest_mme.runtimes.event_reader import Listener
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
    """The client of a server that does with a mark what a test says."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        self.mark = answer


def client(answer: Callable[[str], object]) -> ContractClient:
    return cast("ContractClient", Marker(answer))


def answering(listener: Listener) -> ContractClient:
    """The client of a server that tells of a mark before it answers."""
    return client(lambda token: listener.hear(marked(token)))


def no_answer() -> NoAnswerError:
    return NoAnswerError("POST /pytest-mme/mark", 0.0, ConnectionRefusedError(), timed_out=False)


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def listener(timeline: Timeline) -> Listener:
    return Listener(timeline, "s")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event of a load that has not come by now does not come."""
    monkeypatch.setattr(event_reader, "_ARRIVES_S", 0.01)


# Lines


def test_an_event_goes_on_the_timeline_under_the_name_that_the_server_has_there(
    listener: Listener, timeline: Timeline
) -> None:
    assert listener.hear(line("load", server="its own", model="m", seconds=0.5, detail={"bytes": 7}))
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
def test_what_somebody_has_printed_is_no_event(listener: Listener, timeline: Timeline, printed: bytes) -> None:
    assert not listener.hear(printed)
    assert (len(timeline), listener.facts, listener.ahead_s) == (0, {}, 0.0)


def test_of_a_shared_server_only_ones_own_models_are_told_of(timeline: Timeline) -> None:
    listener = Listener(timeline, "s", mine={"mine"}.__contains__)
    for model in ("mine", "theirs", None):
        assert listener.hear(line("crash", model=model))
    assert {event.model for event in timeline} == {"mine", None}
    assert len(timeline) == 2


def test_nobodys_mark_is_on_the_timeline(listener: Listener, timeline: Timeline) -> None:
    assert listener.hear(marked("another's"))
    listener.catch_up(answering(listener))
    assert len(timeline) == 0


# Clocks


def test_a_server_of_the_same_boot_has_the_same_clock(listener: Listener, timeline: Timeline) -> None:
    listener.hear(ready(clock={**events.clock(), "now_s": 0.0}))  # what it shows there does not matter
    assert listener.ahead_s == 0.0
    listener.hear(line("ping", at_s=timeline.began_monotonic_s + 2.5))
    (event,) = timeline
    assert event.at_s == pytest.approx(2.5)


@pytest.mark.parametrize("now_s", [100.0, 1e9], ids=["booted later", "booted earlier"])
def test_the_clock_of_another_boot_is_set_right(listener: Listener, timeline: Timeline, now_s: float) -> None:
    before_s = timeline.now_s()
    listener.hear(ready(clock={"boot": "another", "now_s": now_s}))
    after_s = timeline.now_s()
    listener.hear(line("ping", at_s=now_s + 3.0))
    (event,) = timeline
    assert before_s - 1e-3 <= event.at_s - 3.0 <= after_s + 1e-3


def test_where_boots_have_no_name_clocks_are_set_right(
    listener: Listener, timeline: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_boot", lambda: None)
    before_s = timeline.now_s()
    listener.hear(ready(clock={"boot": None, "now_s": 100.0}))
    after_s = timeline.now_s()
    listener.hear(line("ping", at_s=100.0))
    (event,) = timeline
    assert before_s - 1e-3 <= event.at_s <= after_s + 1e-3


def test_a_server_that_begins_again_may_have_another_clock(listener: Listener) -> None:
    listener.hear(ready(clock={"boot": "another", "now_s": 100.0}))
    assert listener.ahead_s != 0.0
    listener.hear(ready())
    assert listener.ahead_s == 0.0


def test_who_joins_knows_the_clock_from_others(listener: Listener, timeline: Timeline) -> None:
    listener.ahead_s = 50.0
    listener.hear(line("ping", at_s=timeline.began_monotonic_s - 49.0))
    (event,) = timeline
    assert event.at_s == pytest.approx(1.0)


# First words


def test_the_first_line_says_what_the_server_is(listener: Listener, timeline: Timeline) -> None:
    assert listener.hear(ready(version="2.16"))
    assert listener.first_words(gone=lambda: None)["version"] == "2.16"
    assert listener.facts["version"] == "2.16"
    assert len(timeline) == 0


def test_a_server_that_ended_before_its_first_line_is_said_to(listener: Listener) -> None:
    with pytest.raises(NotReadyError, match=r"first line, which says what it is.*\n.*it ended with code 3"):
        listener.first_words(gone=lambda: "it ended with code 3")


def test_the_first_words_of_one_that_ended_are_not_those_of_the_next(listener: Listener) -> None:
    listener.hear(ready(version="2.16"))
    listener.end()
    with pytest.raises(NotReadyError, match="gone"):
        listener.first_words(gone=lambda: "gone")
    listener.hear(ready(version="2.17"))
    assert listener.first_words(gone=lambda: None)["version"] == "2.17"


# Processes


def test_the_process_of_a_model_is_the_one_that_it_was_loaded_in(listener: Listener) -> None:
    listener.hear(loaded("m", 7))
    listener.hear(loaded("other", 8))
    assert listener.pid("m", answering(listener)) == 7
    listener.hear(line("unload", model="m"))
    listener.hear(loaded("m", 9))
    assert listener.pid("m", answering(listener)) == 9


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("end", ["unload", "crash", "oom"])
def test_a_model_that_left_has_no_process(listener: Listener, end: str) -> None:
    listener.hear(loaded("m", 7))
    listener.hear(loaded("other", 8))
    listener.hear(line(end, model="m"))
    assert listener.pid("m", answering(listener)) is None
    assert listener.pid("other", answering(listener)) == 8


@pytest.mark.usefixtures("impatient")
def test_no_process_outlives_its_server(listener: Listener) -> None:
    listener.hear(ready())
    listener.hear(loaded("m", 7))
    listener.hear(ready())
    assert listener.pid("m", answering(listener)) is None


@pytest.mark.parametrize(
    "said", [line("crash"), line("invoke", model="m"), line("load", model="m", outcome="409"), line("evict", model="m")]
)
def test_what_ends_no_process_forgets_none(listener: Listener, said: bytes) -> None:
    listener.hear(loaded("m", 7))
    listener.hear(said)
    assert listener.pid("m", answering(listener)) == 7


@pytest.mark.usefixtures("impatient")
def test_a_model_of_others_has_no_process_here(timeline: Timeline) -> None:
    listener = Listener(timeline, "s", mine=lambda _: False)
    listener.hear(loaded("m", 7))
    assert listener.pid("m", answering(listener)) is None


@pytest.mark.usefixtures("impatient")
def test_a_model_whose_end_was_told_of_just_now_has_no_process(listener: Listener) -> None:
    def tell(token: str) -> None:
        listener.hear(line("crash", model="m"))
        listener.hear(marked(token))

    listener.hear(loaded("m", 7))
    assert listener.pid("m", client(tell)) is None


def test_the_event_of_a_load_may_come_after_its_answer(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "_ARRIVES_S", 60.0)
    found: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    asking = threading.Thread(target=lambda: found.put(listener.pid("m", answering(listener))), daemon=True)
    asking.start()
    asking.join(timeout=INSTANT_S)
    listener.hear(loaded("m", 7))
    assert found.get(timeout=SOON_S) == 7


# To catch up


class CatchingUp:
    """Somebody who catches up, in a thread, with a server that answers a mark at once and tells of it when it will."""

    def __init__(self, listener: Listener, *, error: Exception | None = None) -> None:
        self.token, self._asked, self._error = "", threading.Event(), error
        self._thread = threading.Thread(target=listener.catch_up, args=[client(self._mark)], daemon=True)
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


def test_who_catches_up_waits_for_the_own_mark(listener: Listener) -> None:
    one = CatchingUp(listener)
    assert one.waits()
    listener.hear(marked("another's"))
    listener.hear(line("ping"))
    assert one.waits()
    listener.hear(marked(one.token))
    assert one.has_caught_up()


def test_of_two_who_catch_up_each_has_a_mark(listener: Listener) -> None:
    one, other = CatchingUp(listener), CatchingUp(listener)
    listener.hear(marked(other.token))
    assert other.has_caught_up()
    assert one.waits()
    listener.hear(marked(one.token))
    assert one.has_caught_up()


def test_the_end_of_the_stream_frees_all_who_catch_up(listener: Listener) -> None:
    waiting = [CatchingUp(listener) for _ in range(3)]
    listener.end()
    assert all(one.has_caught_up() for one in waiting)
    assert listener._marks == {}


def test_who_gets_no_answer_waits_for_the_end_of_the_stream_and_leaves_no_token(listener: Listener) -> None:
    one = CatchingUp(listener, error=no_answer())
    assert one.waits()
    listener.end()
    assert one.has_caught_up()
    assert listener._marks == {}


@pytest.mark.parametrize("error", [None, no_answer()], ids=["answered", "not answered"])
def test_with_a_stream_that_has_ended_nobody_waits(listener: Listener, error: Exception | None) -> None:
    listener.end()
    assert CatchingUp(listener, error=error).has_caught_up()
    assert listener._marks == {}


def test_with_a_server_that_began_again_one_waits_again(listener: Listener) -> None:
    listener.end()
    listener.hear(ready())
    one = CatchingUp(listener)
    assert one.waits()
    listener.hear(marked(one.token))
    assert one.has_caught_up()


def test_no_token_is_left_behind_by_an_error(listener: Listener) -> None:
    def fail(_: str) -> None:
        raise ValueError("the client is closed")

    with pytest.raises(ValueError, match="closed"):
        listener.catch_up(client(fail))
    assert listener._marks == {}


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
def test_what_looks_like_the_servers_own_and_is_not(printed: bytes) -> None:
    assert not Listener(Timeline(), "server").hear(printed)
