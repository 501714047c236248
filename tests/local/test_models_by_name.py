"""A name stands for a model wherever the server or the endpoint knows its models."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mme import EndpointFactory, FaultsFactory, Models, ServerFactory, TrafficFactory, round_robin


def test_an_endpoint_takes_the_names_of_its_models(mme_endpoint: EndpointFactory, mme_models: Models) -> None:
    models = mme_models.fleet(2)
    endpoint = mme_endpoint(models, name="ranking")
    assert endpoint.invoke("model-0", [1.0]) == models[0].answer([1.0])
    assert endpoint.invoke("model-1.tar.gz", [1.0]) == models[1].answer([1.0])
    assert endpoint.identifier("model-0") == endpoint.identifier(models[0])
    assert endpoint.model("model-1") is models[1]
    endpoint.check_answers(at_least=2)


def test_a_server_takes_the_names_of_models_that_it_has_loaded_before(
    mme_server: ServerFactory, mme_models: Models
) -> None:
    server, model = mme_server(), mme_models.linear("scores")
    identifier = server.load(model)
    assert server.invoke("scores", [1.0]) == model.answer([1.0])
    assert server.get("scores")["modelName"] == server.identifier("scores") == identifier
    server.unload("scores")
    assert server.load("scores.tar.gz") != identifier
    assert server.invoke("scores", [1.0]) == model.answer([1.0])


def test_traffic_takes_names(mme_endpoint: EndpointFactory, mme_models: Models, mme_traffic: TrafficFactory) -> None:
    endpoint = mme_endpoint(mme_models.fleet(2))
    load = mme_traffic(endpoint).closed(round_robin(["model-0", "model-1"]), clients=2, requests=6)
    assert (len(load), load.failed) == (6, 0)
    assert {one.model for one in load} == {"model-0", "model-1"}
    endpoint.check_answers(at_least=6)


def test_faults_take_names_and_record_them(
    mme_endpoint: EndpointFactory, mme_models: Models, mme_faults: FaultsFactory
) -> None:
    models = mme_models.fleet(2)
    endpoint = mme_endpoint(models)
    endpoint.invoke(models[0], [1.0])
    faults = mme_faults(endpoint)
    with faults.paused("model-0"), faults.slowed("model-1.tar.gz", latency_s=0.001):
        endpoint.invoke("model-1", [1.0])
    with faults.hogged("model-1", clients=1), faults.chaos("model-0", seconds=0.01, kinds=["slowed"], seed=1):
        pass
    faults.kill("model-0")
    seen = [(event.outcome, event.model) for event in endpoint.timeline if event.kind == "fault"]
    assert {("paused", "model-0"), ("slowed", "model-1"), ("hogged", "model-1"), ("killed", "model-0")} <= set(seen)
    calls = [event.detail["call"]["options"] for event in endpoint.timeline if event.detail.get("call")]
    assert {"model": "model-1", "latency_s": 0.001} in calls  # a replay finds the model under its name


@pytest.mark.parametrize("name", ["model-7", "", "MODEL-0"])
def test_an_unknown_name_is_answered_with_the_known_ones(
    mme_endpoint: EndpointFactory, mme_models: Models, mme_faults: FaultsFactory, name: str
) -> None:
    endpoint = mme_endpoint(mme_models.fleet(2), name="ranking")
    words = f"ranking knows no model called '{name}'; it knows: model-0, model-1. Give one of these names, or a model"
    for ask in (
        lambda: endpoint.invoke(name, [1.0]),
        lambda: endpoint.identifier(name),
        lambda: mme_faults(endpoint).kill(name),
        lambda: mme_faults(endpoint).paused(name),
    ):
        with pytest.raises(TypeError, match=words):
            ask()


def test_an_unknown_name_in_a_mix_is_the_load_s_error(
    mme_endpoint: EndpointFactory, mme_models: Models, mme_traffic: TrafficFactory
) -> None:
    endpoint = mme_endpoint(mme_models.fleet(1), name="ranking")
    with pytest.raises(TypeError, match="ranking knows no model called 'model-7'"):
        mme_traffic(endpoint).closed(round_robin(["model-0", "model-7"]), clients=2, requests=6)


def test_a_server_that_has_loaded_nothing_asks_for_a_model(mme_server: ServerFactory) -> None:
    with pytest.raises(TypeError, match=r"server-\d+ knows no model called 'model-0'; it knows: none yet"):
        mme_server().load("model-0")


@pytest.mark.parametrize("thing", [3, None, b"model-0", ["model-0"]])
def test_what_is_neither_a_model_nor_a_name_is_told_so(
    mme_endpoint: EndpointFactory, mme_models: Models, thing: Any
) -> None:
    endpoint = mme_endpoint(mme_models.fleet(1), name="ranking")
    with pytest.raises(
        TypeError, match=r"ranking was given .*, which is not a model: give a model, as mme_models makes"
    ):
        endpoint.invoke(thing, [1.0])
