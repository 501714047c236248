"""Endpoints: what boto3 gets, and what the platform's side does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from pytest_mme import Aws, Endpoint, Event, Model, Models, Reply, Run, Settings
from pytest_mme.errors import ContractError
from pytest_mme.hosting.eviction import Candidate, first_loaded
from pytest_mme.waiting import wait_for
from tests.local.gate import Gate

Endpoints = Callable[..., Endpoint]


def events(endpoint: Endpoint, kind: str, source: str = "hosting") -> list[Event]:
    return [event for event in endpoint.timeline if event.kind == kind and event.source == source]


def error_of(endpoint: Endpoint, target: str, body: bytes = b'{"instances": [[1.0]]}') -> dict[str, object]:
    """Invoke the endpoint, and return the response of the `ClientError` that boto3 raises."""
    with pytest.raises(ClientError) as refused:
        endpoint.invoke_raw(target, body)
    response: dict[str, object] = dict(refused.value.response)
    return {**response, "status": refused.value.response["ResponseMetadata"]["HTTPStatusCode"]}


def code(response: dict[str, object]) -> object:
    return response["Error"]["Code"]  # type: ignore[index]


def message(response: dict[str, object]) -> str:
    return str(response["Error"]["Message"])  # type: ignore[index]


def test_nothing_is_downloaded_before_the_first_request(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    assert events(endpoint, "download") == []
    endpoint.invoke(model, [1.0])
    endpoint.invoke(model, [1.0])
    assert [event.kind for event in endpoint.timeline if event.source == "hosting"] == [
        "download",
        "load",
        "attempt",
        "attempt",
    ]


def test_an_evicted_model_comes_back_without_a_download(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b = mme_models.fleet(2, weights_mib=50)
    endpoint = mme_endpoint([a, b], fits=1)
    for model in (a, b, a):
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert [event.model for event in events(endpoint, "download")] == [a.name, b.name]
    assert [(event.model, event.detail["room_for"]) for event in events(endpoint, "evict")] == [
        (a.name, b.name),
        (b.name, a.name),
    ]
    endpoint.check_answers(at_least=3)
    with pytest.raises(AssertionError, match=r"^model-9 was not evicted; evictions: model-0 at .* s for model-1"):
        endpoint.check_evicted("model-9")


def test_concurrent_first_requests_share_one_download_and_one_load(
    mme_endpoint: Endpoints, mme_models: Models, pool: ThreadPoolExecutor
) -> None:
    model = mme_models.linear()
    endpoint, barrier = mme_endpoint([model]), threading.Barrier(8)

    def invoke() -> object:
        barrier.wait()
        return endpoint.invoke(model, [1.0])

    predictions = [future.result() for future in [pool.submit(invoke) for _ in range(8)]]
    assert predictions == [model.answer([1.0])] * 8
    assert len(events(endpoint, "download")) == len(events(endpoint, "load")) == 1


def test_a_model_that_hangs_does_not_delay_another(
    mme_endpoint: Endpoints, mme_models: Models, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    quick = mme_models.linear()
    endpoint = mme_endpoint([gated, quick])
    body = json.dumps({"instances": [str(gate.path)]}).encode()
    held = pool.submit(error_of, endpoint, gated.key, body)
    with gate.held():
        assert endpoint.invoke(quick, [1.0]) == quick.answer([1.0])
        assert not held.done()
    held.result()


def test_while_the_only_other_model_is_in_use_a_load_without_room_fails_with_507(
    mme_endpoint: Endpoints, mme_models: Models, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    large = mme_models.linear("large", weights_mib=60)
    endpoint = mme_endpoint([gated, large], memory_mib=85)
    body = json.dumps({"instances": [str(gate.path)]}).encode()
    held = pool.submit(error_of, endpoint, gated.key, body)
    with gate.held():
        error = error_of(endpoint, large.key)
        assert (error["status"], code(error), error["OriginalStatusCode"]) == (424, "ModelError", 507)
        assert "not enough memory" in str(error["OriginalMessage"])
    held.result()
    assert endpoint.invoke(large, [1.0]) == large.answer([1.0])
    endpoint.check_evicted(gated)


def test_an_error_of_the_model_is_a_model_error(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    error = error_of(mme_endpoint([model], name="ranking"), model.key, b'{"instances": [["text"]]}')
    assert (error["status"], code(error), error["OriginalStatusCode"]) == (424, "ModelError", 400)
    assert json.loads(str(error["OriginalMessage"]))["error"].endswith("is not of expected type: float")
    assert message(error).startswith('Received client error (400) from primary with message "{')
    assert "#logEventViewer:group=/aws/sagemaker/Endpoints/ranking in account 123456789012" in message(error)
    assert error["LogStreamArn"] == ("arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/ranking")


def test_each_request_to_a_model_that_cannot_be_loaded_gets_the_reason(
    mme_endpoint: Endpoints, mme_models: Models, tmp_path: Path
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"garbage" * 100)
    broken, good = mme_models.archive(tmp_path, name="broken"), mme_models.linear()
    endpoint = mme_endpoint([broken, good])
    for _ in range(2):
        error = error_of(endpoint, broken.key)
        assert (error["status"], error["OriginalStatusCode"]) == (424, 500)
        assert "Can't parse" in str(error["OriginalMessage"])
    assert len(events(endpoint, "download")) == 1
    assert len(events(endpoint, "load")) == 2
    assert endpoint.invoke(good, [1.0]) == good.answer([1.0])


@pytest.mark.parametrize("target", ["nothing.tar.gz", "../../etc/passwd", "a/b/c.tar.gz"])
def test_an_archive_that_is_not_in_s3_is_a_validation_error(
    mme_endpoint: Endpoints, mme_models: Models, target: str
) -> None:
    error = error_of(mme_endpoint([mme_models.linear()], name="ranking"), target)
    assert (error["status"], code(error)) == (400, "ValidationError")
    assert message(error).startswith(f"Failed to download model data (bucket: pytest-mme, key: ranking/{target})")


def test_an_object_in_s3_that_is_not_an_archive_is_a_validation_error(
    mme_endpoint: Endpoints, mme_models: Models, mme_aws: Aws
) -> None:
    endpoint = mme_endpoint([mme_models.linear()], name="ranking")
    mme_aws.s3.put_object(Bucket=mme_aws.bucket, Key="ranking/odd.tar.gz", Body=b"odd")
    error = error_of(endpoint, "odd.tar.gz")
    assert (error["status"], code(error)) == (400, "ValidationError")
    assert message(error).startswith("Failed to extract model data archive")


def test_an_unknown_endpoint_and_a_missing_target_are_validation_errors(
    mme_endpoint: Endpoints, mme_models: Models, mme_aws: Aws
) -> None:
    mme_endpoint([mme_models.linear()], name="ranking")
    with pytest.raises(ClientError, match=r"Endpoint nobody of account 123456789012 not found\.") as missing:
        mme_aws.runtime.invoke_endpoint(EndpointName="nobody", TargetModel="m.tar.gz", Body=b"{}")
    assert missing.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="TargetModel is missing"):
        mme_aws.runtime.invoke_endpoint(EndpointName="ranking", Body=b"{}")


def test_a_model_whose_worker_was_killed_is_loaded_again_without_an_error(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    endpoint.invoke(model, [1.0])
    (load,) = events(endpoint, "load", "server")
    psutil.Process(load.detail["pid"]).kill()
    wait_for(lambda: events(endpoint, "crash", "server") or None, what="the crash", timeout_s=10)
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert len(events(endpoint, "load")) == 2
    assert len(events(endpoint, "download")) == 1


def test_a_container_that_is_gone_is_a_model_error_with_status_0(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model], name="ranking")
    endpoint.invoke(model, [1.0])
    psutil.Process(endpoint.running.facts["pid"]).kill()
    error = error_of(endpoint, model.key)
    assert (error["status"], code(error), error["OriginalStatusCode"]) == (424, "ModelError", 0)
    assert "could not get a response from the ranking endpoint" in message(error)


def test_an_invoke_that_takes_too_long_is_a_model_error_with_status_0(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    model = mme_models.linear(sleep_ms=3000)
    error = error_of(mme_endpoint([model], invoke_s=0.2), model.key)
    assert (error["status"], error["OriginalStatusCode"]) == (424, 0)
    assert "timed out while waiting for a response from container primary" in message(error)


def test_a_model_that_is_not_ready_in_time_is_429_and_its_load_goes_on(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    model = mme_models.linear("large", weights_mib=400)
    endpoint = mme_endpoint([model], ready_s=0.001)
    once = boto3.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(once.exceptions.ModelNotReadyException):
        once.invoke_endpoint(EndpointName=endpoint.name, TargetModel=model.key, Body=b'{"instances": [[1.0]]}')
    wait_for(lambda: events(endpoint, "load") or None, what="the load", timeout_s=20)
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert len(events(endpoint, "load")) == 1


@pytest.mark.parametrize(
    ("eviction", "evicted"),
    [("lru", "model-1"), ("fifo", "model-0"), ("lfu", "model-1"), (first_loaded, "model-0")],
    ids=["lru", "fifo", "lfu", "function"],
)
def test_the_eviction_policy_chooses_the_model(
    mme_endpoint: Endpoints, mme_models: Models, eviction: object, evicted: str
) -> None:
    a, b, c = mme_models.fleet(3, weights_mib=50)
    endpoint = mme_endpoint([a, b, c], fits=2, eviction=eviction)
    for model in (a, b, a, c):
        endpoint.invoke(model, [1.0])
    endpoint.check_evicted(evicted)
    assert len(events(endpoint, "evict")) == 1


def test_a_policy_that_evicts_nothing_leads_to_507(mme_endpoint: Endpoints, mme_models: Models) -> None:
    def none(candidates: list[Candidate]) -> None:
        del candidates

    a, b = mme_models.fleet(2, weights_mib=50)
    endpoint = mme_endpoint([a, b], fits=1, eviction=none)
    endpoint.invoke(a, [1.0])
    assert error_of(endpoint, b.key)["OriginalStatusCode"] == 507
    endpoint.check_resident(a)


def test_the_server_knows_models_by_opaque_ids(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    endpoint.invoke(model, [1.0])
    (listed,) = endpoint.running.client.list().json()["models"]
    assert len(listed["modelName"]) == 32
    assert "model" not in listed["modelName"]
    assert listed["modelUrl"].endswith(f"/{listed['modelName']}/model")


def test_the_reply_names_the_variant_and_each_try_is_recorded_with_its_request_id(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    reply = endpoint.invoke_raw(model.key, b'{"instances": [[1.0]]}')
    assert reply.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    (attempt,) = events(endpoint, "attempt")
    assert attempt.detail["request"] == reply.headers["x-amzn-requestid"]
    assert attempt.detail["attempt"].startswith("attempt=1; max=")
    (invoke,) = events(endpoint, "invoke", "server")
    assert invoke.detail["request"] == attempt.detail["request"]


def test_sagemaker_describes_the_endpoint_until_it_ends(
    tmp_path: Path, mme_settings: Settings, mme_models: Models, mme_aws: Aws
) -> None:
    run = Run(mme_settings, directory=tmp_path)
    with run, run.endpoint([mme_models.linear()], aws=mme_aws, name="ranking"):
        _describe(mme_aws)
    assert mme_aws.sagemaker.list_endpoints()["Endpoints"] == []
    assert mme_aws.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert mme_aws.sagemaker.list_models()["Models"] == []


def _describe(mme_aws: Aws) -> None:
    assert mme_aws.sagemaker.describe_endpoint(EndpointName="ranking")["EndpointStatus"] == "InService"
    model = mme_aws.sagemaker.describe_model(ModelName="ranking")
    assert model["PrimaryContainer"]["Mode"] == "MultiModel"
    assert model["PrimaryContainer"]["ModelDataUrl"] == "s3://pytest-mme/ranking/"


def test_two_endpoints_with_models_of_one_name_each_have_their_own(mme_endpoint: Endpoints, mme_models: Models) -> None:
    one, other = mme_models.linear("m", weights_mib=1), mme_models.linear("m", weights_mib=2)
    first, second = mme_endpoint([one], name="first"), mme_endpoint([other], name="second")
    assert first.invoke(one, [1.0]) == one.answer([1.0])
    assert second.invoke(other, [1.0]) == other.answer([1.0])
    assert one.answer([1.0]) != other.answer([1.0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "no spaces"}, "SageMaker allows 1 to 63 letters"),
        ({"eviction": "random"}, "choose one of lru, fifo, lfu"),
        ({"ready_s": 0}, "give seconds, more than 0"),
        ({"memory_mib": 0}, "give MiB, at least 1"),
        ({"admission": "maybe"}, "choose 'estimate' or 'none'"),
        ({"cpus": 0}, "give a whole number, at least 1"),
        ({"oom": "never"}, "choose 'kernel' or 'tensorflow'"),
        ({"drain_s": -1}, "give seconds, 0 to 360"),
        ({"fits": 1, "memory_mib": 100}, "not both"),
    ],
)
def test_a_field_with_a_value_that_is_not_allowed_is_refused(
    mme_endpoint: Endpoints, mme_models: Models, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        mme_endpoint([mme_models.linear()], **fields)


@pytest.mark.parametrize("archives", ["model.tar.gz", ["model.tar.gz"], None], ids=str)
def test_archives_that_are_not_models_are_a_type_error(mme_endpoint: Endpoints, archives: object) -> None:
    with pytest.raises(TypeError):
        mme_endpoint(archives)


def test_archives_must_be_a_list_of_models_and_names_must_differ(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    with pytest.raises(TypeError, match=r"give a list of models, not .*mme_models.archive\(path\)"):
        mme_endpoint(model)
    with pytest.raises(ValueError, match=r"two archives are called model.tar.gz: give them names of their own"):
        mme_endpoint([model, mme_models.linear(weights_mib=1)])
    with pytest.raises(ValueError, match="give at least one model"):
        mme_endpoint([])
    mme_endpoint([model], name="ranking")
    with pytest.raises(ValueError, match="there is an endpoint 'ranking' already"):
        mme_endpoint([model], name="ranking")


def test_a_prefix_without_a_slash_gets_one_with_a_warning(
    mme_endpoint: Endpoints, mme_models: Models, mme_aws: Aws
) -> None:
    model = mme_models.linear()
    with pytest.warns(UserWarning, match="prefix='models' does not end in a slash"):
        endpoint = mme_endpoint([model], prefix="models")
    assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    listed = mme_aws.s3.list_objects_v2(Bucket=mme_aws.bucket)["Contents"]
    assert [item["Key"] for item in listed] == ["models/model.tar.gz"]


def test_a_policy_that_raises_is_an_internal_failure(mme_endpoint: Endpoints, mme_models: Models) -> None:
    def broken(_: object) -> str:
        raise LookupError("mine")

    a, b = mme_models.fleet(2, weights_mib=50)
    endpoint = mme_endpoint([a, b], fits=1, eviction=broken)
    endpoint.invoke(a, [1.0])
    error = error_of(endpoint, b.key)
    assert (error["status"], code(error), message(error)) == (500, "InternalFailure", "LookupError: mine")


def test_an_instance_that_the_model_does_not_take_is_a_model_error(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    with pytest.raises(ClientError, match="ModelError"):
        mme_endpoint([model]).invoke(model, ["text"])


def test_a_prediction_of_a_counter_is_checked_when_its_count_is_known(
    mme_endpoint: Endpoints, mme_models: Models
) -> None:
    counter = mme_models.counter()
    endpoint = mme_endpoint([counter])
    for before in (0.0, 1.0):
        endpoint.invoke(counter, [1.0], before=before)
    endpoint.check_answers(at_least=2)
    endpoint.invoke(counter, [1.0])
    with pytest.raises(AssertionError, match=r"^1 of 3 requests got predictions that nobody knows beforehand: counter"):
        endpoint.check_answers()


def test_infinity_and_nan_are_predicted(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    for x in ([float("inf")], [float("-inf")], [float("nan")], [3e38]):
        assert endpoint.invoke(model, x) == model.answer(x)


def test_an_unknown_field_is_a_type_error(mme_endpoint: Endpoints, mme_models: Models) -> None:
    with pytest.raises(TypeError, match=r"unknown: memory; there are admission, code, cpus, .*memory_mib"):
        mme_endpoint([mme_models.linear()], memory=100)


def test_a_reply_without_a_prediction_raises_and_is_recorded_as_an_error(
    mme_endpoint: Endpoints, mme_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mme_models.linear()
    endpoint = mme_endpoint([model])
    monkeypatch.setattr(endpoint.running.direct, "invoke", lambda *_, **__: Reply(200, b"{}", {}, 0.0))
    with pytest.raises(ContractError, match="invoke of model replied 200"):
        endpoint.invoke(model, [1.0])
    (invoke,) = events(endpoint, "invoke", "test")
    assert (invoke.outcome, invoke.detail["error"]) == ("no prediction", "{}")


def test_the_models_of_an_endpoint_are_known_by_name(mme_endpoint: Endpoints, mme_models: Models) -> None:
    a, b = mme_models.fleet(2)
    assert mme_endpoint([a, b]).models == {a.name: a, b.name: b}
