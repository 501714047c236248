"""The front door with an endpoint that is only a function, and boto3 as it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

from pytest_mme.aws import wire
from pytest_mme.aws.door import FrontDoor
from pytest_mme.contract.client import ContractClient, Reply

Ask = Callable[..., dict[str, Any]]


class Door:
    """A front door whose endpoint answers as the test says."""

    def __init__(self) -> None:
        self.seen: list[wire.WireRequest] = []
        self.answer: Callable[[wire.WireRequest], Reply] = lambda request: Reply(200, request.body, {}, 0.0)
        self._door = FrontDoor(self._take)
        self.close = self._door.close

    def _take(self, request: wire.WireRequest) -> Reply:
        self.seen.append(request)
        return self.answer(request)

    def client(self, key: str = "testing", **config: Any) -> BaseClient:
        return boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=self._door.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def ask(self, body: bytes = b"{}", key: str = "testing", **parameters: Any) -> Any:
        return self.client(key).invoke_endpoint(EndpointName="e", TargetModel="m.tar.gz", Body=body, **parameters)  # type: ignore[attr-defined]


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_a_request_arrives_as_boto3_sent_it(door: Door) -> None:
    reply = door.ask(b"\x00binary\xff", ContentType="application/x-npy", Accept="*/*", CustomAttributes="a=1")
    assert reply["Body"].read() == b"\x00binary\xff"
    (request,) = door.seen
    assert (request.endpoint, request.target) == ("e", "m.tar.gz")
    assert request.headers == {
        "Content-Type": "application/x-npy",
        "Accept": "*/*",
        "X-Amzn-SageMaker-Custom-Attributes": "a=1",
    }
    assert request.request_id == reply["ResponseMetadata"]["RequestId"]


def test_headers_of_the_answer_come_back(door: Door) -> None:
    headers = {"Content-Type": "text/csv", "X-Amzn-SageMaker-Custom-Attributes": "b=2", "Server": "hidden"}
    door.answer = lambda _: Reply(200, b"1,2", headers, 0.0)
    reply = door.ask()
    assert (reply["ContentType"], reply["CustomAttributes"]) == ("text/csv", "b=2")
    assert reply["InvokedProductionVariant"] == "AllTraffic"


def test_a_body_at_the_limit_passes_and_one_over_it_does_not(door: Door) -> None:
    assert len(door.ask(b"x" * 6_291_456)["Body"].read()) == 6_291_456
    with pytest.raises(ClientError, match="larger than 6291456 bytes") as refused:
        door.ask(b"x" * 6_291_457)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (wire.no_such_endpoint("e"), 400, "ValidationError"),
        (wire.no_target_model("e"), 400, "ValidationError"),
        (wire.download_failed("b", "k"), 400, "ValidationError"),
        (wire.model_not_ready("m"), 429, "ModelNotReadyException"),
        (wire.model_error("e", 400, b"bad"), 424, "ModelError"),
        (wire.model_error("e", 507, b"full"), 424, "ModelError"),
        (wire.model_timed_out("e"), 424, "ModelError"),
        (wire.container_gone("e"), 424, "ModelError"),
    ],
    ids=lambda value: getattr(value, "message", None) and f"{value.code}-{value.message[:20]}",
)
def test_errors_reach_boto3_as_its_own(door: Door, error: wire.WireError, status: int, code: str) -> None:
    def refuse(_: wire.WireRequest) -> Reply:
        raise error

    door.answer = refuse
    with pytest.raises(ClientError) as raised:
        door.ask()
    response: dict[str, Any] = dict(raised.value.response)
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code)
    assert response["Error"]["Message"] == error.message
    for member, value in error.members.items():
        if member != "ErrorCode":  # a member of the wire that botocore's model of the error names otherwise
            assert response[member] == value


def test_a_mistake_of_ours_is_an_internal_failure_and_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: wire.WireRequest) -> Reply:
        raise ZeroDivisionError("ours")

    door.answer = fail
    with caplog.at_level(logging.ERROR, "pytest_mme"), pytest.raises(ClientError, match="ZeroDivisionError: ours"):
        door.ask()
    assert "of e failed" in caplog.text


@pytest.mark.parametrize("key", ["AKIA" + "Z" * 16, "ASIA" + "7" * 16])
def test_keys_that_look_real_are_refused_and_never_shown_whole(door: Door, key: str) -> None:
    with pytest.raises(ClientError, match="it looks like a real one") as refused:
        door.ask(key=key)
    assert key not in json.dumps(refused.value.response, default=str)
    assert door.seen == []


@pytest.mark.parametrize("key", ["AKIAIOSFODNN7EXAMPLE", "FOOBARKEY", "testing", "pytest-mme"])
def test_keys_that_are_plainly_dummies_pass(door: Door, key: str) -> None:
    door.ask(key=key)
    assert len(door.seen) == 1


def test_a_path_that_is_none_of_the_runtimes_is_404(door: Door) -> None:
    assert ContractClient(door._door.url).ping().status == 404
