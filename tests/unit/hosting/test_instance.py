"""An instance with a container that replies when the test lets it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.aws import wire
from pytest_mme.contract.client import Reply
from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.errors import NoAnswerError
from pytest_mme.hosting.disk import Fetched
from pytest_mme.hosting.eviction import least_recently_used
from pytest_mme.hosting.instance import Instance
from pytest_mme.hosting.lifecycle import Phase
from pytest_mme.timeline.events import Timeline
from pytest_mme.waiting import wait_for

OK = Reply(200, b"{}", {}, 0.0)


class FakeClient:
    """A client whose container replies as the test says."""

    def __init__(self) -> None:
        self.load_status, self.invoke_statuses = 200, list[int]()
        self.may_load = threading.Event()
        self.may_load.set()
        self.calls: list[str] = []

    def load(self, identifier: str, url: str) -> Reply:
        assert self.may_load.wait(20)
        self.calls.append("load")
        return Reply(self.load_status, b"body", {}, 0.0)

    def unload(self, identifier: str) -> Reply:
        self.calls.append("unload")
        return OK

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> Reply:
        self.calls.append("invoke")
        return Reply(self.invoke_statuses.pop(0) if self.invoke_statuses else 200, b"{}", {}, 0.0)


class FakeServer:
    """A server that does not run."""

    dialect = CONTRACT

    def __init__(self, models: Path) -> None:
        self.client, self.models = FakeClient(), models

    def place(self, folder: Path) -> str:
        return str(folder)


class FakeDisk:
    """Every archive can be downloaded."""

    def folder(self, identifier: str) -> Path:
        return Path(identifier)

    def fetch(self, target: str, identifier: str) -> Fetched:
        return Fetched(bytes=1, checksum=target)


class Hosted:
    """An instance of that server."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.server, self.timeline = FakeServer(folder), Timeline()
        self.client = self.server.client
        self.instance = Instance(
            "e",
            self.server,  # type: ignore[arg-type]
            FakeDisk(),  # type: ignore[arg-type]
            self.timeline,
            **{"policy": least_recently_used, "ready_s": 20.0, **fields},
        )

    def invoke_model(self) -> Reply:
        return self.instance.invoke(
            wire.WireRequest(endpoint="e", target="m", body=b"{}", headers={}, request_id="id"), "m", [], timeout_s=5
        )

    @property
    def model(self) -> Any:
        return self.instance._lifecycle._models["m"]


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Hosted]:
    return lambda **fields: Hosted(tmp_path, **fields)


@pytest.mark.parametrize("load_status", [200, 500])
def test_a_request_that_is_429_leaves_nothing_in_flight(host: Callable[..., Hosted], load_status: int) -> None:
    hosted = host(ready_s=0.05)
    hosted.client.load_status = load_status
    hosted.client.may_load.clear()
    with pytest.raises(wire.WireError, match="ModelNotReadyException"):
        hosted.invoke_model()
    hosted.client.may_load.set()
    wait_for(lambda: hosted.model.phase is not Phase.LOADING or None, what="the load", timeout_s=20)
    assert hosted.model.in_flight == 0


def test_a_409_is_a_ghost_after_a_failed_load_and_the_model_after_a_good_one(host: Callable[..., Hosted]) -> None:
    hosted = host()
    for status in (500, 409):  # the 409 is a ghost: its load had failed
        hosted.client.load_status = status
        with pytest.raises(wire.WireError, match="ModelError"):
            hosted.invoke_model()
    hosted.client.load_status = 200
    assert hosted.invoke_model().ok
    hosted.client.load_status = 409  # the container has it, though it replied 404 once
    hosted.client.invoke_statuses = [404]
    assert hosted.invoke_model().ok


def test_a_second_404_after_a_new_load_is_passed_on(host: Callable[..., Hosted]) -> None:
    hosted = host()
    hosted.client.invoke_statuses = [404, 404]
    assert hosted.invoke_model().status == 404
    assert hosted.client.calls == ["load", "invoke", "load", "invoke"]


def test_an_unexpected_exception_reaches_the_request_and_the_timeline(
    host: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = host()
    monkeypatch.setattr(hosted.server, "place", lambda _: 1 / 0)
    with pytest.raises(wire.WireError, match="InternalFailure"):
        hosted.invoke_model()
    assert [(event.kind, event.outcome) for event in hosted.timeline] == [
        ("download", "ok"),
        ("load", "500 InternalFailure"),
    ]


def test_a_container_that_does_not_reply_to_a_load_is_gone(
    host: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Reply:
        raise NoAnswerError("POST /models", 0.1, ConnectionRefusedError(), timed_out=False)

    hosted = host()
    monkeypatch.setattr(hosted.client, "load", gone)
    with pytest.raises(wire.WireError, match="could not get a response from the e endpoint"):
        hosted.invoke_model()
    load = hosted.timeline[-1]
    assert (load.kind, load.outcome) == ("load", "no answer")
    assert "POST /models got no reply" in load.detail["error"]


def test_many_requests_at_once_load_once(host: Callable[..., Hosted]) -> None:
    hosted = host()
    with ThreadPoolExecutor(32) as pool:
        assert all(reply.ok for reply in pool.map(lambda _: hosted.invoke_model(), range(200)))
    assert hosted.client.calls.count("load") == 1
    assert hosted.model.in_flight == 0
