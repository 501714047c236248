"""The platform's side with a container that answers when the test says so."""

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
from pytest_mme.hosting.disk import Fetched
from pytest_mme.hosting.eviction import least_recently_used
from pytest_mme.hosting.instance import Instance
from pytest_mme.hosting.lifecycle import Phase
from pytest_mme.timeline.events import Timeline
from pytest_mme.waiting import wait_for

OK = Reply(200, b"{}", {}, 0.0)


class StoryClient:
    """A container in few words."""

    def __init__(self) -> None:
        self.load_status, self.invoke_statuses = 200, list[int]()
        self.may_load = threading.Event()
        self.may_load.set()
        self.calls: list[str] = []

    def load(self, identifier: str, url: str) -> Reply:
        assert self.may_load.wait(20)
        self.calls.append("load")
        return Reply(self.load_status, b"told", {}, 0.0)

    def unload(self, identifier: str) -> Reply:
        self.calls.append("unload")
        return OK

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> Reply:
        self.calls.append("invoke")
        return Reply(self.invoke_statuses.pop(0) if self.invoke_statuses else 200, b"{}", {}, 0.0)


class StoryServer:
    """Where it runs: nowhere."""

    dialect = CONTRACT

    def __init__(self, models: Path) -> None:
        self.client, self.models = StoryClient(), models

    def place(self, folder: Path) -> str:
        return str(folder)


class FakeDisk:
    """Every archive can be downloaded."""

    def folder(self, identifier: str) -> Path:
        return Path(identifier)

    def fetch(self, target: str, identifier: str) -> Fetched:
        return Fetched(bytes=1, checksum=target)


class Story:
    """An instance of that container."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.server, self.timeline = StoryServer(folder), Timeline()
        self.client = self.server.client
        self.instance = Instance(
            "e",
            self.server,  # type: ignore[arg-type]
            FakeDisk(),  # type: ignore[arg-type]
            self.timeline,
            **{"policy": least_recently_used, "ready_s": 20.0, **fields},
        )

    def ask(self) -> Reply:
        return self.instance.invoke(
            wire.WireRequest(endpoint="e", target="m", body=b"{}", headers={}, request_id="id"), "m", timeout_s=5
        )

    @property
    def model(self) -> Any:
        return self.instance._lifecycle._models["m"]


@pytest.fixture
def story(tmp_path: Path) -> Callable[..., Story]:
    return lambda **fields: Story(tmp_path, **fields)


@pytest.mark.parametrize("load_status", [200, 500])
def test_a_request_that_gave_up_leaves_nothing_in_flight(story: Callable[..., Story], load_status: int) -> None:
    told = story(ready_s=0.05)
    told.client.load_status = load_status
    told.client.may_load.clear()
    with pytest.raises(wire.WireError, match="ModelNotReadyException"):
        told.ask()
    told.client.may_load.set()
    wait_for(lambda: told.model.phase is not Phase.LOADING or None, what="the load", timeout_s=20)
    assert told.model.in_flight == 0


def test_a_409_after_a_failed_load_is_a_ghost_but_after_a_good_one_it_is_the_model(
    story: Callable[..., Story],
) -> None:
    told = story()
    for status in (500, 409):  # a ghost: its load had failed
        told.client.load_status = status
        with pytest.raises(wire.WireError, match="ModelError"):
            _raise_for(told)
    told.client.load_status = 200
    assert told.ask().ok
    told.client.load_status = 409  # the container has it, though it said 404 once
    told.client.invoke_statuses = [404]
    assert told.ask().ok


def _raise_for(told: Story) -> None:
    told.ask()


def test_a_404_is_passed_on_when_a_new_load_did_not_help(story: Callable[..., Story]) -> None:
    told = story()
    told.client.invoke_statuses = [404, 404]
    assert told.ask().status == 404
    assert told.client.calls == ["load", "invoke", "load", "invoke"]


def test_an_error_of_ours_reaches_the_request(story: Callable[..., Story], monkeypatch: pytest.MonkeyPatch) -> None:
    told = story()
    monkeypatch.setattr(told.server, "place", lambda _: 1 / 0)
    with pytest.raises(wire.WireError, match="InternalFailure"):
        told.ask()


def test_many_requests_at_once_load_once(story: Callable[..., Story]) -> None:
    told = story()
    with ThreadPoolExecutor(32) as pool:
        assert all(reply.ok for reply in pool.map(lambda _: told.ask(), range(200)))
    assert told.client.calls.count("load") == 1
    assert told.model.in_flight == 0
