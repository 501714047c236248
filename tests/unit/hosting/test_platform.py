"""The platform's replies to requests, and the attempts that it records."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.aws import wire
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.contract.client import Reply
from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.hosting.platform import Platform
from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.timeline.events import Timeline
from tests import hostile


class FakeContainer:
    """A running server, its client, and S3 in one: every model loads, and each invoke gets one reply."""

    name, dialect = "ranking", CONTRACT

    def __init__(self, models: Path) -> None:
        self.client, self.models = self, models
        self.reply = Reply(200, b"{}", {}, 0.0)

    def place(self, folder: Path) -> str:
        return str(folder)

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(hostile.tar_of(hostile.member("1/saved_model.pb")))}

    def load(self, identifier: str, url: str) -> Reply:
        return Reply(200, b"", {}, 0.0)

    def invoke(self, *_: object, **__: object) -> Reply:
        return self.reply


@pytest.fixture
def container(tmp_path: Path) -> FakeContainer:
    return FakeContainer(tmp_path)


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def platform(container: FakeContainer, timeline: Timeline) -> Iterator[Platform]:
    archives = S3Folder(container, "bucket", "ranking/")  # type: ignore[arg-type]
    with contextlib.closing(Platform(container, archives, EndpointSpec(), timeline)) as platform:  # type: ignore[arg-type]
        yield platform


def request(target: str | None = "m.tar.gz") -> wire.WireRequest:
    return wire.WireRequest(
        endpoint="ranking",
        target=target,
        body=b"{}",
        headers={},
        request_id="id",
        attempt="attempt=1; max=5",
        invocation="one call",
    )


def test_a_good_reply_is_the_containers_and_recorded_as_an_attempt(platform: Platform, timeline: Timeline) -> None:
    assert platform.reply(request()).body == b"{}"
    attempt = timeline[-1]
    assert (attempt.kind, attempt.source, attempt.server, attempt.model) == ("attempt", "hosting", "ranking", "m")
    admitted_s, finished_s = attempt.detail.pop("used_s")
    assert attempt.began_s <= admitted_s <= finished_s <= attempt.at_s
    known = {"request": "id", "attempt": "attempt=1; max=5", "invocation": "one call"}
    assert (attempt.outcome, attempt.detail) == ("ok", known)


def test_an_error_of_the_container_is_a_model_error_with_its_body_recorded(
    platform: Platform, container: FakeContainer, timeline: Timeline
) -> None:
    container.reply = Reply(400, b"bad", {}, 0.0)
    with pytest.raises(wire.WireError) as raised:
        platform.reply(request())
    assert (raised.value.status, raised.value.members["OriginalStatusCode"]) == (424, 400)
    assert (timeline[-1].outcome, timeline[-1].detail["error"]) == ("424 ModelError", "bad")
    assert timeline[-1].detail["status"] == 400


def test_a_request_without_a_target_model_is_refused_and_recorded(platform: Platform, timeline: Timeline) -> None:
    with pytest.raises(wire.WireError, match="TargetModel is missing"):
        platform.reply(request(None))
    (attempt,) = timeline
    assert (attempt.outcome, attempt.model) == ("400 ValidationError", None)


def test_an_unexpected_exception_is_recorded_as_an_internal_failure(
    platform: Platform, container: FakeContainer, timeline: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "invoke", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        platform.reply(request())
    assert timeline[-1].outcome == "500 InternalFailure"
