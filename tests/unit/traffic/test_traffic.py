"""Loads on a target that answers at once, by a clock of the test's own: what is sent, when, and what becomes of it."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from pytest_mme import Model, burst, hold, round_robin, trace
from pytest_mme.errors import ContractError, NoAnswerError
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.traffic import drive, traffic
from pytest_mme.traffic.drive import outcome_of
from pytest_mme.traffic.traffic import Traffic

A_AND_B = round_robin(["a", "b"])


class Target:
    """Answers at once, or as it is told, and keeps what it was asked."""

    name = "ranking"

    def __init__(self, answer: Callable[[Model], object] = str) -> None:
        self.recording, self.asked = Timeline(), list[tuple[str, Any]]()
        self._answer = answer

    @property
    def timeline(self) -> Sequence[Event]:
        return self.recording.of(self.name)

    def model(self, model: Model | str) -> Model:
        return Model(name=model, archive=Path("m.tar.gz")) if isinstance(model, str) else model

    def invoke(self, model: Model, x: Any) -> Any:
        self.asked.append((model.name, x))
        return self._answer(model)


class Clock:
    """Stands still but for the time of an answer: 2.5 s, half a second of it in this process; 4 s for a refusal."""

    def __init__(self) -> None:
        self.now_s, self.used_s = 100.0, 7.0

    def monotonic(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.used_s

    def answer(self, model: Model) -> None:
        self.now_s += 4.0 if model.name == "bad" else 2.5
        self.used_s += 0.5
        if model.name == "bad":
            raise ContractError("invoke", 507, "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of drives and phases."""
    made = Clock()
    for module in (drive, traffic):
        monkeypatch.setattr(module, "time", made)
    return made


def test_a_client_sends_a_request_when_the_one_before_is_answered(clock: Clock) -> None:
    target = Target(clock.answer)
    load = Traffic(target).closed(A_AND_B, clients=1, requests=3)
    assert [(one.model, one.due_s, one.sent_s, one.answered_s) for one in load] == [
        *(("a", 0.0, 0.0, 2.5), ("b", 2.5, 2.5, 5.0), ("a", 5.0, 5.0, 7.5))
    ]
    assert (load.seconds, load.client_share) == (7.5, 0.2)
    assert target.asked == [("a", [1.0]), ("b", [1.0]), ("a", [1.0])]
    assert [one.hit for one in load] == [None] * 3


def test_a_load_ends_after_its_time_however_much_is_left(clock: Clock) -> None:
    assert len(Traffic(Target(clock.answer)).closed(A_AND_B, clients=1, requests=9, seconds=5)) == 2


def test_requests_of_an_open_load_that_find_no_client_are_sent_late(clock: Clock) -> None:
    load = Traffic(Target(clock.answer)).open(A_AND_B, burst(3), clients=1)
    assert [(one.due_s, one.sent_s) for one in load] == [(0.0, 0.0), (0.0, 2.5), (0.0, 5.0)]
    assert load.late == 2


def test_requests_of_an_open_load_wait_until_they_are_due() -> None:
    load = Traffic(Target()).open(A_AND_B, hold(20, 0.2), clients=1)
    assert [one.due_s for one in load] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert all(one.queued_s >= 0 for one in load)


def test_a_load_without_requests_took_no_time() -> None:
    load = Traffic(Target()).closed(A_AND_B, requests=0)
    assert (len(load), load.seconds, load.client_share, load.rate) == (0, 0.0, 0.0, 0.0)


def test_a_test_may_choose_what_is_sent() -> None:
    target = Target()
    Traffic(target).closed(A_AND_B, clients=1, requests=2, instance=lambda model: model.name * 2)
    Traffic(target).open(A_AND_B, burst(1), instance=lambda _: "burst")
    assert target.asked == [("a", "aa"), ("b", "bb"), ("a", "burst")]


@pytest.mark.parametrize(
    ("begin", "clients"),
    [
        (lambda traffic: traffic.closed(A_AND_B, requests=1), 8),
        (lambda traffic: traffic.open(A_AND_B, burst(1)), 64),
        (lambda traffic: traffic.closed(A_AND_B, requests=1, clients=1), 1),
    ],
    ids=["closed", "open", "one"],
)
def test_so_many_clients_begin_together(begin: Callable[[Traffic], object], clients: int) -> None:
    seen = []

    def count(_: Model) -> None:
        seen.append(sum(thread.name.startswith("traffic") for thread in threading.enumerate()))

    begin(Traffic(Target(count)))
    assert seen == [clients]


# Marks and hits


@pytest.mark.parametrize(
    ("begin", "name"),
    [
        (lambda traffic: traffic.closed(A_AND_B, clients=1, requests=2), "closed load, round robin of 2"),
        (lambda traffic: traffic.open(A_AND_B, burst(2), clients=1), "open load, round robin of 2"),
        (lambda traffic: traffic.open(A_AND_B, burst(2), clients=1, name="x"), "x, round robin of 2"),
    ],
    ids=["closed", "open", "named"],
)
def test_a_load_leaves_a_mark(clock: Clock, begin: Callable[[Traffic], object], name: str) -> None:
    target = Target(clock.answer)
    load = begin(Traffic(target))
    (mark,) = target.timeline
    assert (mark.kind, mark.source, mark.outcome, mark.seconds) == ("mark", "test", name, 5.0)
    assert mark.detail["summary"] == str(load)


def test_a_phase_is_marked_even_where_it_fails(clock: Clock) -> None:
    target = Target(clock.answer)
    with pytest.raises(ContractError), Traffic(target).phase("quiet"):
        target.invoke(target.model("bad"), 1)
    (mark,) = target.timeline
    assert (mark.kind, mark.outcome, mark.seconds) == ("mark", "quiet", 4.0)


def test_a_request_hits_where_its_model_was_not_loaded_meanwhile(clock: Clock) -> None:
    target = Target(clock.answer)
    target.recording.began_monotonic_s = clock.now_s - 10
    for model, at_s in (("a", 9.0), ("a", 11.0), ("b", 12.0), ("b", 14.0)):  # the requests begin at 10, 12.5, 15, 17.5
        target.recording.record("load", source="hosting", at_s=at_s, server=target.name, model=model)
    load = Traffic(target).closed(round_robin(["a", "b", "a", "bad"]), clients=1, requests=4)
    assert [(one.outcome, one.hit) for one in load] == [("ok", False), ("ok", False), ("ok", True), ("507", False)]


# Errors


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ClientError({"Error": {"Code": "ModelError"}}, "InvokeEndpoint"), "ModelError"),
        (ContractError("invoke", 507, ""), "507"),
        (BotoCoreError(), "BotoCoreError"),
        (NoAnswerError("invoke", 1.0, OSError(), False), "NoAnswerError"),
        (None, "ok"),
    ],
    ids=str,
)
def test_the_outcome_of_a_request_is_ok_or_its_error(error: Exception | None, outcome: str) -> None:
    def answer(_: Model) -> None:
        if error is not None:
            raise error

    assert outcome_of(answer, Target().model("a")) == outcome


@pytest.mark.parametrize("client", ["traffic_0", "traffic_1"])
def test_an_error_that_is_not_a_reply_ends_the_load(client: str) -> None:
    def answer(_: Model) -> None:
        if threading.current_thread().name == client:
            raise KeyError("was never loaded")

    began_s = time.monotonic()
    with pytest.raises(KeyError, match="was never loaded"):
        Traffic(Target(answer)).closed(A_AND_B, clients=2, seconds=20)
    assert time.monotonic() - began_s < 20


def test_a_client_that_cannot_begin_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others do not wait for it."""
    start, left = threading.Thread.start, itertools.count(-2)

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("traffic") and next(left) == 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Traffic(Target()).closed(A_AND_B, clients=4, requests=4)


def test_a_long_load_says_every_five_seconds_how_far_it_is(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pytest_mme"):
        Traffic(Target(clock.answer)).closed(trace(["a", "a", "bad", "a", "a"]), clients=1, requests=9, name="warm-up")
    assert caplog.messages == [
        "warm-up, trace of 5: 2 replies in 5 s, 0 per second, 0 failed",
        "warm-up, trace of 5: 4 replies in 12 s, 0 per second, 1 failed",
    ]


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (lambda traffic: traffic.closed(A_AND_B), "a closed load needs an end: requests=, seconds=, or both"),
        (lambda traffic: traffic.closed(A_AND_B, seconds=0), "seconds=0: give more than 0"),
        (lambda traffic: traffic.closed(A_AND_B, requests=1, seconds=-1), "seconds=-1: give more than 0"),
        (lambda traffic: traffic.closed(A_AND_B, requests=1, clients=0), "clients=0: give 1 or more"),
        (lambda traffic: traffic.open(A_AND_B), "an open load needs stages: hold(rate, seconds)"),
        (lambda traffic: traffic.open(A_AND_B, burst(1), clients=0), "clients=0: give 1 or more"),
    ],
)
def test_a_load_with_impossible_arguments_is_a_value_error(begin: Callable[[Traffic], object], message: str) -> None:
    target = Target()
    with pytest.raises(ValueError, match=re.escape(message)):
        begin(Traffic(target))
    assert target.asked == []
