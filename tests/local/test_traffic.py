"""Loads on real servers and endpoints."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable

import pytest

from pytest_mme import Endpoint, Models, Server, Traffic, burst, hold, round_robin, trace, uniform, zipf
from pytest_mme.traffic import drive

Traffics = Callable[[Server | Endpoint], Traffic]
Endpoints = Callable[..., Endpoint]


def test_a_closed_load_on_an_endpoint(mme_endpoint: Endpoints, mme_models: Models, mme_traffic: Traffics) -> None:
    models = mme_models.fleet(3)
    endpoint = mme_endpoint(models)
    load = mme_traffic(endpoint).closed(zipf(models), clients=4, requests=60)
    assert (len(load), load.failed) == (60, 0)
    assert 0 < load.latency_s(50) <= load.latency_s(99) < 30
    assert sum(one.hit is False for one in load) >= 3
    assert any(one.hit for one in load)
    endpoint.check_answers(at_least=60)
    endpoint.check_concurrent(at_least=2)
    mark = next(event for event in endpoint.timeline if event.kind == "mark")
    assert mark.outcome == "closed load, zipf of 3, s 1, seed 0"
    assert "60 requests in" in mark.detail["summary"]


def test_an_open_load_does_not_wait_for_the_server(
    mme_server: Callable[..., Server], mme_models: Models, mme_traffic: Traffics
) -> None:
    model, server = mme_models.linear(sleep_ms=300), mme_server()
    server.load(model)
    load = mme_traffic(server).open(round_robin([model]), hold(20, 1), burst(5))
    assert (len(load), load.failed) == (25, 0)
    assert sorted(one.due_s for one in load) == pytest.approx([*(number * 0.05 for number in range(1, 21)), *[1.0] * 5])
    first_answer_s = min(one.answered_s for one in load)
    assert sorted(one.sent_s for one in load)[1] < first_answer_s  # it was sent while the first was under way
    server.check_concurrent(model, at_least=4)


def test_a_request_that_waits_for_a_free_client_is_late_and_its_wait_counts_as_latency(
    mme_server: Callable[..., Server], mme_models: Models, mme_traffic: Traffics
) -> None:
    model, server = mme_models.linear(sleep_ms=100), mme_server()
    server.load(model)
    load = mme_traffic(server).open(round_robin([model]), burst(6), clients=2)
    assert load.late == 4
    assert load.latency_s(99) >= 0.3  # three after each other


def test_a_time_ends_a_load(mme_server: Callable[..., Server], mme_models: Models, mme_traffic: Traffics) -> None:
    model, server = mme_models.linear(sleep_ms=50), mme_server()
    server.load(model)
    load = mme_traffic(server).closed(uniform([model]), clients=2, seconds=0.5)
    assert 2 <= len(load) <= 20
    assert load.seconds >= 0.5
    assert len(mme_traffic(server).closed(trace([model] * 3), clients=2, seconds=30)) == 3


def test_failed_requests_are_counted_by_outcome(
    mme_server: Callable[..., Server], mme_endpoint: Endpoints, mme_models: Models, mme_traffic: Traffics
) -> None:
    good, bad = mme_models.linear("good"), mme_models.forge(mme_models.linear(), "unknown-op", "bad")
    load = mme_traffic(mme_endpoint([good, bad])).closed(round_robin([good, bad]), clients=2, requests=8)
    assert load.outcomes == {"ok": 4, "ModelError": 4}
    server = mme_server()
    server.load(good)
    server.unload(good)
    assert mme_traffic(server).closed(trace([good]), requests=1).outcomes == {"404": 1}


def test_an_error_that_is_not_a_reply_is_raised(
    mme_server: Callable[..., Server], mme_models: Models, mme_traffic: Traffics
) -> None:
    model, server = mme_models.linear(), mme_server()
    with pytest.raises(KeyError, match="was never loaded"):
        mme_traffic(server).closed(round_robin([model]), clients=4, requests=100)


def test_a_long_load_says_how_far_it_is(
    mme_server: Callable[..., Server],
    mme_models: Models,
    mme_traffic: Traffics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive, "_LOG_EVERY_S", 0.05)
    model, server = mme_models.linear(sleep_ms=50), mme_server()
    server.load(model)
    with caplog.at_level(logging.INFO, "pytest_mme"):
        mme_traffic(server).closed(round_robin([model]), clients=1, requests=5, name="warm-up")
    assert any("warm-up, round robin of 1: " in message and " replies in " in message for message in caplog.messages)


def test_a_phase_is_marked(mme_server: Callable[..., Server], mme_traffic: Traffics) -> None:
    server = mme_server()
    with mme_traffic(server).phase("quiet"):
        server.ping()
    (mark,) = [event for event in server.timeline if event.kind == "mark"]
    assert mark.outcome == "quiet"


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (lambda traffic, mix: traffic.closed(mix), "a closed load needs an end"),
        (lambda traffic, mix: traffic.open(mix), "an open load needs stages"),
        (lambda traffic, mix: traffic.closed(mix, requests=1, clients=0), "clients=0: give 1 or more"),
    ],
)
def test_a_load_with_impossible_arguments_is_a_value_error(
    mme_server: Callable[..., Server],
    mme_models: Models,
    mme_traffic: Traffics,
    begin: Callable[..., object],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        begin(mme_traffic(mme_server()), round_robin([mme_models.linear()]))


def test_a_client_that_cannot_begin_ends_the_load(
    mme_server: Callable[..., Server], mme_models: Models, mme_traffic: Traffics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others do not wait for it."""
    model, server = mme_models.linear(), mme_server()
    server.load(model)
    start, left = threading.Thread.start, itertools.count(-2)

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("traffic") and next(left) == 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        mme_traffic(server).closed(round_robin([model]), clients=4, requests=4)
