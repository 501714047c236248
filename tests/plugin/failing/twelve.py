"""Twelve tests that fail, as new users write them; `test_twelve_failures.py` runs them and reads what is shown."""

from __future__ import annotations

import boto3
from botocore.config import Config

from pytest_mme import round_robin

HANDLER = """
def inference_handler(data, model_name):
    return {"predictions": [prices[data["instances"][0][0]]]}
"""

RACY = """
import time
SLOPES = {"model-0": 2.0, "model-1": 3.0}
current = None

def inference_handler(data, model_name):
    global current
    current = model_name
    time.sleep(0.01)
    return {"predictions": [{"identity": current, "y": SLOPES[current]}]}
"""


def ask(endpoint, key, **config):
    client = boto3.client("sagemaker-runtime", region_name="us-east-1", config=Config(**config))
    request = {"EndpointName": endpoint.name, "TargetModel": key, "ContentType": "application/json"}
    return client.invoke_endpoint(**request, Body=b'{"instances": [[1.0]]}')


def test_wrong_answer(mme_endpoint, mme_models):
    model = mme_models.linear("prices")
    endpoint = mme_endpoint([model], name="ranking")
    assert endpoint.invoke(model, [1.0])["y"] == 12.0


def test_out_of_memory_at_load(mme_server, mme_models):
    server = mme_server(memory_mib=150, admission="none")
    server.load(mme_models.linear("huge", weights_mib=400))


def test_out_of_memory_at_predict(mme_endpoint, mme_models):
    hungry = mme_models.linear("hungry", allocate_mib=400)
    endpoint = mme_endpoint([hungry], name="ranking", memory_mib=150)
    ask(endpoint, "hungry.tar.gz", retries={"total_max_attempts": 1})


def test_handler_fails(mme_handler, mme_models, tmp_path):
    (tmp_path / "handler.py").write_text(HANDLER)
    model = mme_models.linear("prices")
    server = mme_handler(tmp_path / "handler.py", [model])
    server.invoke(model, [1.0])


def test_times_out(mme_endpoint, mme_models):
    endpoint = mme_endpoint([mme_models.linear("slow", sleep_ms=2000)], name="ranking")
    ask(endpoint, "slow.tar.gz", read_timeout=0.5, retries={"total_max_attempts": 1})


def test_unknown_model(mme_endpoint, mme_models):
    endpoint = mme_endpoint(mme_models.fleet(2), name="ranking")
    ask(endpoint, "model-7.tar.gz")


def test_unreachable_engine(mme_server, mme_models):
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    server.invoke(model, [1.0])


def test_failed_load(mme_endpoint, mme_models, mme_traffic):
    models = [*mme_models.fleet(2), mme_models.linear("hungry", allocate_mib=400)]
    endpoint = mme_endpoint(models, name="ranking", memory_mib=250)
    load = mme_traffic(endpoint).closed(round_robin(models), clients=4, requests=60)
    assert load.failed == 0


def test_lost_request(mme_server, mme_models, mme_faults):
    server, model = mme_server(drain_s=0), mme_models.linear("prices", sleep_ms=300)
    server.load(model)
    with mme_faults(server).hogged(model, clients=2):
        for _ in range(3):  # meanwhile the others have been answered, too
            server.invoke(model, [1.0])
        server.unload(model)
    server.check_drained()


def test_thrash(mme_endpoint, mme_models, mme_traffic):
    models = mme_models.fleet(3, weights_mib=40)
    endpoint = mme_endpoint(models, name="ranking", fits=2)
    mme_traffic(endpoint).closed(round_robin(models), clients=1, requests=30)
    endpoint.check_no_thrash(hit_ratio=0.9)


def test_race(mme_handler, mme_models, mme_traffic, tmp_path):
    (tmp_path / "handler.py").write_text(RACY)
    models = mme_models.fleet(2)
    server = mme_handler(tmp_path / "handler.py", models)
    mme_traffic(server).closed(round_robin(models), clients=8, requests=80)
    server.check_answers()


def test_missing_archive(mme_endpoint, mme_models):
    mme_endpoint([mme_models.archive("dist/prices.tar.gz")])
