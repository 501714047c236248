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
from pytest_mme.errors import ArchiveError, NoAnswerError
from pytest_mme.hosting import instance
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
        self.load_status, self.unload_status = 200, 200
        self.load_statuses, self.invoke_statuses = list[int](), list[int]()
        self.may_load = threading.Event()
        self.may_load.set()
        self.calls: list[str] = []

    def load(self, identifier: str, url: str) -> Reply:
        assert self.may_load.wait(20)
        self.calls.append("load")
        return Reply(self.load_statuses.pop(0) if self.load_statuses else self.load_status, b"body", {}, 0.0)

    def unload(self, identifier: str) -> Reply:
        self.calls.append("unload")
        return Reply(self.unload_status, b"", {}, 0.0)

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
    """Every archive can be downloaded, unless there is an error."""

    error: wire.WireError | None = None

    def folder(self, identifier: str) -> Path:
        return Path(identifier)

    def fetch(self, target: str, identifier: str) -> Fetched:
        if self.error:
            raise self.error
        return Fetched(bytes=1, checksum=target)


class Hosted:
    """An instance of that server."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.server, self.disk, self.timeline = FakeServer(folder), FakeDisk(), Timeline()
        self.client = self.server.client
        self.instance = Instance(
            "e",
            self.server,  # type: ignore[arg-type]
            self.disk,  # type: ignore[arg-type]
            self.timeline,
            **{"policy": least_recently_used, "ready_s": 20.0, **fields},
        )

    def invoke_model(self, name: str = "m") -> Reply:
        request = wire.WireRequest(endpoint="e", target=name, body=b"{}", headers={}, request_id="id")
        return self.instance.invoke(request, name, [], timeout_s=5)

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


def test_a_request_that_gets_no_reply_loads_nothing_again(
    host: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object, **__: object) -> Reply:
        raise NoAnswerError("POST /models/m/invoke", 5, TimeoutError(), timed_out=True)

    hosted = host()
    assert hosted.invoke_model().ok
    with monkeypatch.context() as patch:
        patch.setattr(hosted.client, "invoke", slow)
        with pytest.raises(wire.WireError, match="timed out"):
            hosted.invoke_model()
    assert hosted.invoke_model().ok
    assert hosted.client.calls == ["load", "invoke", "invoke"]
    assert hosted.model.in_flight == 0


@pytest.mark.parametrize(
    ("cause", "more"), [(ArchiveError("no archive", "odd", "pack it"), {"refused": "odd"}), (KeyError("m"), {})]
)
def test_a_download_that_fails_is_recorded_with_why_the_archive_was_refused(
    host: Callable[..., Hosted], cause: Exception, more: dict[str, str]
) -> None:
    hosted = host()
    hosted.disk.error = wire.download_failed("bucket", "m")
    hosted.disk.error.__cause__ = cause
    with pytest.raises(wire.WireError, match="Failed to download"):
        hosted.invoke_model()
    (download,) = hosted.timeline
    assert (download.kind, download.outcome) == ("download", "ValidationError")
    assert download.detail == {"error": hosted.disk.error.message, **more}


@pytest.mark.parametrize(("status", "outcome"), [(200, "ok"), (404, "ok"), (500, "500")])
def test_an_eviction_is_recorded_by_the_reply_to_its_unload(
    host: Callable[..., Hosted], status: int, outcome: str
) -> None:
    hosted = host()
    hosted.client.load_statuses, hosted.client.unload_status = [200, 507, 200], status
    assert hosted.invoke_model("a").ok
    assert hosted.invoke_model("b").ok
    moves = [event for event in hosted.timeline if event.kind in ("evict", "unload")]
    assert [(event.kind, event.model, event.outcome) for event in moves] == [
        ("evict", "a", outcome),
        ("unload", "a", outcome),
    ]
    assert moves[0].detail["room_for"] == "b"


def test_an_instance_that_is_closed_ends_what_is_under_way_and_starts_nothing(
    host: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "_THREADS", 1)
    hosted = host(ready_s=0.05)
    hosted.client.may_load.clear()
    for name in ("loads", "waits"):
        with pytest.raises(wire.WireError, match="ModelNotReadyException"):
            hosted.invoke_model(name)
    hosted.instance.close()
    hosted.client.may_load.set()
    hosted.instance._pool.shutdown()
    assert [(event.kind, event.model) for event in hosted.timeline] == [("download", "loads"), ("load", "loads")]
    assert hosted.timeline[-1].outcome == "ok"
