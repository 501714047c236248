"""An endpoint as a test holds it, without AWS and without a server."""

from __future__ import annotations

import contextlib
import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.hosting.endpoint import Endpoint, hosted
from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.models.builder import Model
from pytest_mme.timeline.events import Timeline

MODELS = [Model(name=name, archive=Path(f"{name}.tar.gz")) for name in ("a", "b")]


class FakeAws:
    """AWS, its clients and a folder in its bucket, in one."""

    url = "s3://bucket/ranking/"

    def __init__(self) -> None:
        self.runtime = self
        self.archives: dict[str, Path] = {}
        self.error: dict[str, Any] | None = None
        self.may_remove = True

    def folder(self, prefix: str) -> FakeAws:
        assert prefix == "ranking/"
        return self

    @contextlib.contextmanager
    def endpoint(self, name: str, url: str, respond: object) -> Iterator[None]:
        yield

    def put(self, target: str, archive: Path) -> None:
        self.archives[target] = archive

    def remove(self, target: str) -> None:
        if not self.may_remove:
            raise OSError("the bucket is gone")
        del self.archives[target]

    def invoke_endpoint(self, **parameters: Any) -> dict[str, Any]:
        if self.error:
            raise ClientError(self.error, "InvokeEndpoint")  # type: ignore[arg-type]
        metadata = {"HTTPStatusCode": 200, "HTTPHeaders": {"x-amzn-requestid": "r-1"}}
        return {"Body": io.BytesIO(b'{"predictions": [[2.0]]}'), "ResponseMetadata": metadata}


class FakeServer:
    """A server that does not run, with a log."""

    name, dialect, models = "ranking", CONTRACT, Path("models")

    def __init__(self) -> None:
        self.written, self.seen = "", ""

    def catch_up(self) -> None:
        self.seen = self.written

    def log(self) -> str:
        return self.seen


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def endpoint(aws: FakeAws, server: FakeServer) -> Iterator[Endpoint]:
    with host(aws, server) as endpoint:
        yield endpoint


def host(aws: FakeAws, server: FakeServer) -> contextlib.AbstractContextManager[Endpoint]:
    return hosted(MODELS, server, aws, EndpointSpec(), Timeline())  # type: ignore[arg-type]


def test_archives_are_in_s3_as_long_as_the_endpoint_is(aws: FakeAws, server: FakeServer) -> None:
    with host(aws, server) as endpoint:
        assert aws.archives == {"a.tar.gz": Path("a.tar.gz"), "b.tar.gz": Path("b.tar.gz")}
        assert endpoint.models == {"a": MODELS[0], "b": MODELS[1]}
    assert aws.archives == {}


def test_a_bucket_that_a_test_has_deleted_is_no_error(aws: FakeAws, server: FakeServer) -> None:
    aws.may_remove = False
    with host(aws, server):
        pass


def test_the_log_begins_where_the_test_has_the_endpoint(endpoint: Endpoint, server: FakeServer) -> None:
    server.written = "one\n"
    assert endpoint.log == "one\n"
    endpoint.log_from_now()
    assert endpoint.log == ""
    server.written += "two\n"
    assert endpoint.log == "two\n"
    server.written = "new"  # a server that was replaced logs from the beginning
    assert endpoint.log == "new"


def test_a_prediction_is_recorded_with_the_id_of_its_reply(endpoint: Endpoint) -> None:
    assert endpoint.invoke("a", [1.0]) == [2.0]
    (event,) = endpoint.recording
    assert (event.kind, event.source, event.server, event.model) == ("invoke", "test", "ranking", "a")
    assert (event.outcome, event.detail) == ("ok", {"x": [1.0], "request": "r-1", "got": [2.0]})


@pytest.mark.parametrize(("members", "detail"), [({"OriginalStatusCode": 400}, {"status": 400}), ({}, {})])
def test_an_error_is_recorded_by_its_code_and_where_the_model_refused_its_status(
    endpoint: Endpoint, aws: FakeAws, members: dict[str, Any], detail: dict[str, Any]
) -> None:
    aws.error = {"Error": {"Code": "ModelError", "Message": "no"}, "ResponseMetadata": {"RequestId": "r-2"}, **members}
    with pytest.raises(ClientError):
        endpoint.invoke(MODELS[0], [1.0])
    (event,) = endpoint.recording
    assert (event.outcome, event.detail) == ("ModelError", {"x": [1.0], "request": "r-2", **detail})


def test_a_reply_says_how_long_it_took(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", itertools.count(10.0, 2.5).__next__)
    assert endpoint.invoke_raw("a.tar.gz", b"{}").seconds == 2.5


def test_the_container_knows_a_model_by_one_opaque_id(endpoint: Endpoint) -> None:
    found = endpoint.identifier("a")
    assert len(found) == 32
    assert endpoint.identifier(MODELS[0]) == endpoint.platform.identifier("a.tar.gz") == found
    assert endpoint.identifier("b") != found
