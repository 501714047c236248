"""The checks on real servers: passing on a good one, and failing on one with that very defect."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_mme import Endpoint, Model, Models, Server

Endpoints = Callable[..., Endpoint]


def ask_in_turn(endpoint: Endpoint, models: list[Model]) -> None:
    for model in models:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])


def ask_at_once(endpoint: Endpoint | Server, model: Model, times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        answers = [pool.submit(endpoint.invoke, model, [1.0]) for _ in range(times)]
        assert [answer.result() for answer in answers] == [model.answer([1.0])] * times


def test_an_endpoint_evicts_as_it_should(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint([a, b, c], fits=2)
    ask_in_turn(endpoint, [a, b, a, c])
    endpoint.check_lru()
    endpoint.check_capacity(2)
    endpoint.check_evictions(at_most=1)
    endpoint.check_no_thrash(hit_ratio=0.25)
    with pytest.raises(
        AssertionError, match=r"^1 of 1 eviction: .* model-1 went, and the one that was loaded first was"
    ):
        endpoint.check_fifo()
    with pytest.raises(AssertionError, match=r"^2 models were in memory at once, not 3"):
        endpoint.check_capacity(3)


def test_one_that_evicts_another(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint([a, b, c], fits=2, eviction="fifo")
    ask_in_turn(endpoint, [a, b, a, c])
    endpoint.check_fifo()
    with pytest.raises(AssertionError, match=r"model-0 went, and the least recently used was model-1$"):
        endpoint.check_lru()


def test_one_that_thrashes(mme_endpoint: Endpoints, mme_models: Models) -> None:
    models = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint(models, fits=2)
    ask_in_turn(endpoint, models * 3)
    with pytest.raises(AssertionError, match=r"^0% of 9 requests found their model in memory, and 50% must"):
        endpoint.check_no_thrash(hit_ratio=0.5)
    with pytest.raises(AssertionError, match=r"^7 evictions, and at most 2 may be: model-0 at "):
        endpoint.check_evictions(at_most=2)


def test_first_requests_that_come_together_load_once(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear(sleep_ms=200)
    endpoint = mme_endpoint([model])
    ask_at_once(endpoint, model, 8)
    endpoint.check_loads_once(model)
    endpoint.check_concurrent(model, at_least=4)


def test_one_after_the_other_is_not_concurrent(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    ask_in_turn(endpoint, [model] * 3)
    with pytest.raises(AssertionError, match="at most 1 of 3 requests were under way at once"):
        endpoint.check_concurrent()
    with pytest.raises(AssertionError, match=r"^model did not have two requests before its first load had ended$"):
        endpoint.check_loads_once(model)
