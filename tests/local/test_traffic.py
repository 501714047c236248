"""Loads on real servers and endpoints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Endpoint, Models, Server, Traffic, burst, hold, round_robin, trace, uniform, zipf

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
    assert load.late >= 4  # a slow machine is late, too: tests/unit/traffic holds the number by a clock of its own
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
