"""The door to an endpoint that is only a function, and boto3 as it is."""

from __future__ import annotations

import contextlib
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
from pytest_mme.aws.http_door import Door
from pytest_mme.contract.client import ContractClient, Reply


class OpenDoor:
    """A door to one endpoint, which replies as the test says."""

    def __init__(self, door: Door) -> None:
        self.received: list[wire.WireRequest] = []
        self.respond: Callable[[wire.WireRequest], Reply] = lambda request: Reply(200, request.body, {}, 0.0)
        self.door = door

    def reply(self, request: wire.WireRequest) -> Reply:
        self.received.append(request)
        return self.respond(request)

    def client(self, key: str = "testing", **config: Any) -> BaseClient:
        return boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=self.door.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def invoke(self, body: bytes = b"{}", key: str = "testing", name: str = "e", **parameters: Any) -> Any:
        return self.client(key).invoke_endpoint(EndpointName=name, TargetModel="m.tar.gz", Body=body, **parameters)  # type: ignore[attr-defined]


@pytest.fixture
def door() -> Iterator[OpenDoor]:
    with contextlib.closing(Door()) as door:
        opened = OpenDoor(door)
        with door.opened("e", opened.reply):
            yield opened


def test_a_request_arrives_as_boto3_sent_it(door: OpenDoor) -> None:
    reply = door.invoke(b"\x00binary\xff", ContentType="application/x-npy", Accept="*/*", CustomAttributes="a=1")
    assert reply["Body"].read() == b"\x00binary\xff"
    (request,) = door.received
    assert (request.endpoint, request.target) == ("e", "m.tar.gz")
    assert request.headers == {
        "Content-Type": "application/x-npy",
        "Accept": "*/*",
        "X-Amzn-SageMaker-Custom-Attributes": "a=1",
    }
    assert request.request_id == reply["ResponseMetadata"]["RequestId"]


def test_content_type_and_custom_attributes_of_the_reply_come_back(door: OpenDoor) -> None:
    headers = {"Content-Type": "text/csv", "X-Amzn-SageMaker-Custom-Attributes": "b=2", "Server": "hidden"}
    door.respond = lambda _: Reply(200, b"1,2", headers, 0.0)
    reply = door.invoke()
    assert (reply["ContentType"], reply["CustomAttributes"]) == ("text/csv", "b=2")
    assert reply["InvokedProductionVariant"] == "AllTraffic"


def test_a_body_at_the_limit_passes_and_one_over_it_does_not(door: OpenDoor) -> None:
    assert len(door.invoke(b"x" * 6_291_456)["Body"].read()) == 6_291_456
    with pytest.raises(ClientError, match="larger than 6291456 bytes") as refused:
        door.invoke(b"x" * 6_291_457)
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
def test_errors_reach_boto3_as_its_own(door: OpenDoor, error: wire.WireError, status: int, code: str) -> None:
    def refuse(_: wire.WireRequest) -> Reply:
        raise error

    door.respond = refuse
    with pytest.raises(ClientError) as raised:
        door.invoke()
    response: dict[str, Any] = dict(raised.value.response)
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code)
    assert response["Error"]["Message"] == error.message
    for member, value in error.members.items():
        if member != "ErrorCode":  # a member of the wire that botocore's model of the error names otherwise
            assert response[member] == value


def test_an_unexpected_exception_is_an_internal_failure_and_logged(
    door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: wire.WireRequest) -> Reply:
        raise ZeroDivisionError("ours")

    door.respond = fail
    with caplog.at_level(logging.ERROR, "pytest_mme"), pytest.raises(ClientError, match="ZeroDivisionError: ours"):
        door.invoke()
    assert "of e failed" in caplog.text


@pytest.mark.parametrize("key", ["AKIA" + "Z" * 16, "ASIA" + "7" * 16])
def test_an_access_key_that_looks_real_is_refused_and_never_shown_whole(door: OpenDoor, key: str) -> None:
    with pytest.raises(ClientError, match="it looks like a real one") as refused:
        door.invoke(key=key)
    assert key not in json.dumps(refused.value.response, default=str)
    assert door.received == []


@pytest.mark.parametrize("key", ["AKIAIOSFODNN7EXAMPLE", "FOOBARKEY", "testing", "pytest-mme"])
def test_an_access_key_that_is_plainly_a_dummy_passes(door: OpenDoor, key: str) -> None:
    door.invoke(key=key)
    assert len(door.received) == 1


def test_a_path_that_the_runtime_does_not_have_is_404(door: OpenDoor) -> None:
    assert ContractClient(door.door.url).ping().status == 404


def test_two_endpoints_each_get_their_own_requests(door: OpenDoor) -> None:
    with door.door.opened("other", lambda _: Reply(200, b"the other's", {}, 0.0)):
        assert door.invoke(name="other")["Body"].read() == b"the other's"
        assert door.invoke(b"mine")["Body"].read() == b"mine"


def test_an_endpoint_that_is_closed_is_not_found(door: OpenDoor) -> None:
    with door.door.opened("other", lambda _: Reply(200, b"", {}, 0.0)):
        pass
    with pytest.raises(ClientError, match=r"Endpoint other of account 123456789012 not found\."):
        door.invoke(name="other")


def test_a_name_that_is_taken_is_refused_and_stays_with_its_endpoint(door: OpenDoor) -> None:
    with pytest.raises(ValueError, match="there is an endpoint 'e' already"), door.door.opened("e", door.reply):
        pass
    assert door.invoke(b"mine")["Body"].read() == b"mine"
