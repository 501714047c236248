"""The recipes of docs/recipes.md."""

import contextlib

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from pytest_mme import round_robin, zipf
from pytest_mme.errors import UnavailableError


def test_they_fit_together(mme_endpoint, mme_models):
    models = mme_models.fleet(3, weights_mib=40)  # yours: [mme_models.archive(path) for path in ...]
    endpoint = mme_endpoint(models, memory_mib=400)
    for model in models * 2:
        endpoint.invoke(model, [1.0])
    endpoint.check_resident(*models)
    endpoint.check_evictions(at_most=0)


def test_who_has_to_go_when_they_do_not(mme_endpoint, mme_models, mme_traffic):
    models = mme_models.fleet(4, weights_mib=40)
    endpoint = mme_endpoint(models, fits=3)
    mme_traffic(endpoint).closed(zipf(models), clients=1, requests=60)
    endpoint.check_capacity(3)
    endpoint.check_lru()
    endpoint.check_no_thrash(hit_ratio=0.5)


def test_one_is_killed_and_comes_back(mme_endpoint, mme_models, mme_faults):
    killed, other = mme_models.fleet(2)
    endpoint = mme_endpoint([killed, other])
    for model in (killed, other):
        endpoint.invoke(model, [1.0])
    mme_faults(endpoint).kill(killed)
    for model in (killed, other, killed):
        with contextlib.suppress(ClientError):  # the request that meets the death itself
            endpoint.invoke(model, [1.0])
    endpoint.check_recovers(killed, within_s=30, signature="SIGKILL")
    endpoint.check_isolated(good=[other], bad=[killed])


def test_our_client_waits_for_a_model_that_is_not_ready(mme_endpoint, mme_models):
    model = mme_models.linear(weights_mib=50)
    endpoint = mme_endpoint([model], ready_s=0.01)
    client = boto3.client("sagemaker-runtime", config=Config(retries={"mode": "legacy", "total_max_attempts": 10}))
    asked = {"EndpointName": endpoint.name, "TargetModel": model.key, "ContentType": "application/json"}
    answer = client.invoke_endpoint(**asked, Body=b'{"instances": [[1.0]]}')
    assert answer["ResponseMetadata"]["RetryAttempts"] > 0
    assert model.name in answer["Body"].read().decode()


HANDLER = """
import tensorflow as tf
from os import environ
MODELS = {}
def inference_handler(data, model_name):
    if model_name not in MODELS:
        MODELS[model_name] = tf.saved_model.load(f"{environ['SM_MODEL_DIR']}/{model_name}/1")
    answering = MODELS[model_name].signatures["serving_default"]
    outputs = answering(x=tf.constant(data["instances"], tf.float32))
    return {"predictions": [{"identity": outputs["identity"].numpy()[0].decode(), "y": outputs["y"].numpy()[0]}]}
"""


def test_our_handler_mixes_no_requests(mme_handler, mme_models, mme_traffic, tmp_path):
    (tmp_path / "handler.py").write_text(HANDLER)  # yours: mme_handler("src/handler.py", models)
    models = mme_models.fleet(3)
    server = mme_handler(tmp_path / "handler.py", models, memory_mib=1500)
    mme_traffic(server).closed(round_robin(models), clients=8, requests=200)
    server.check_concurrent(at_least=2)
    server.check_answers(at_least=200)


def test_a_greedy_model_leaves_something_for_the_others(mme_endpoint, mme_models, mme_faults):
    greedy, modest = mme_models.linear("greedy", busy_ms=20), mme_models.linear("modest")
    endpoint = mme_endpoint([greedy, modest], cpus=1)
    for model in (greedy, *[modest] * 20):
        endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).hogged(greedy, clients=1):
        for _ in range(40):
            endpoint.invoke(modest, [1.0])
    endpoint.check_fair(hog=greedy, of=[modest], max_ratio=50)


def test_memory_does_not_grow_with_each_load(mme_server, mme_models):
    server, model = mme_server(memory_mib=300), mme_models.linear(weights_mib=20)
    for _ in range(6):
        server.load(model)
        server.invoke(model, [1.0])
        server.unload(model)
    server.check_memory_bounded(cycles=6)


def test_a_model_that_runs_out_of_memory_takes_no_other_along(mme_endpoint, mme_models, mme_faults):
    greedy, modest = mme_models.fleet(2)
    endpoint = mme_endpoint([greedy, modest], memory_mib=400)
    for model in (greedy, modest):
        endpoint.invoke(model, [1.0])
    with contextlib.suppress(UnavailableError), mme_faults(endpoint).out_of_memory(greedy, at="predict"):
        with pytest.raises(ClientError, match="lack of memory"):
            endpoint.invoke(greedy, [1.0])
        assert endpoint.invoke(modest, [1.0]) == modest.answer([1.0])
        endpoint.check_isolated(good=[modest], bad=[greedy])
