"""An instance with containers that reply as the recorded ones: dead processes, ghosts, memory, deviations."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.aws import wire
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.dialects import CONTRACT, TENSORFLOW_A, Dialect
from pytest_mme.hosting.disk import Fetched
from pytest_mme.hosting.eviction import least_recently_used
from pytest_mme.hosting.instance import Instance
from pytest_mme.timeline.events import Event, Timeline
from tests.unit.contract.replay import (
    Container,
    LateGhost,
    MultiModelServer,
    TensorFlow,
    TensorFlow21,
    TensorFlow220,
    serving,
    transcript,
)

STAYS_REGISTERED = (TensorFlow21, TensorFlow, MultiModelServer)
PREDICTED = {kind: transcript(letter)["invoke"].reply for kind, letter in
             ((TensorFlow21, "A"), (TensorFlow, "A"), (TensorFlow220, "C"), (MultiModelServer, "M"))}  # fmt: skip


@dataclasses.dataclass
class Running:
    """A container that runs in this process."""

    client: ContractClient
    models: Path
    dialect: Dialect

    def place(self, folder: Path) -> str:
        return str(folder)


class FakeDisk:
    """Every archive can be downloaded, and holds its name."""

    def __init__(self, models: Path) -> None:
        self._models = models

    def folder(self, identifier: str) -> Path:
        return self._models / identifier

    def fetch(self, target: str, identifier: str) -> Fetched:
        self.folder(identifier).mkdir()
        (self.folder(identifier) / "name").write_text(target)
        return Fetched(bytes=1, checksum=target)


class Hosted:
    """A container, and the instance that hosts it."""

    def __init__(self, container: Container, client: ContractClient, models: Path) -> None:
        self.container, self.timeline = container, Timeline()
        self.instance = Instance(
            "e",
            Running(client, models, container.dialect),  # type: ignore[arg-type]
            FakeDisk(models),  # type: ignore[arg-type]
            self.timeline,
            policy=least_recently_used,
            ready_s=20.0,
        )

    def invoke(self, name: str) -> Reply:
        return self.instance.invoke(
            wire.WireRequest(endpoint="e", target=name, body=b"{}", headers={}, request_id="id"), name, [], timeout_s=20
        )

    def model_error(self, name: str) -> dict[str, Any]:
        """The members of the `ModelError` when the model cannot be loaded."""
        with pytest.raises(wire.WireError, match="ModelError") as refused:
            self.invoke(name)
        return refused.value.members

    def calls(self) -> list[str]:
        """The calls to the container since this was last called."""
        calls, self.container.calls = self.container.calls, []
        return calls

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.timeline if event.kind == kind]

    def deviations(self) -> list[str]:
        return sorted(event.outcome for event in self.events("deviation"))


Host = Callable[[Container], Hosted]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with contextlib.ExitStack() as undo:

        def hosted(container: Container) -> Hosted:
            made = Hosted(container, undo.enter_context(serving(container)), tmp_path)
            undo.callback(made.instance.close)
            return made

        yield hosted


# A model whose process is gone


@pytest.mark.parametrize("kind", STAYS_REGISTERED)
def test_a_dead_model_that_stays_registered_is_deleted_and_loaded_once_more(
    host: Host, kind: Callable[[], Container]
) -> None:
    hosted = host(kind())
    assert hosted.invoke("m").ok
    hosted.container.kill("m")
    hosted.calls()
    assert hosted.invoke("m").body == PREDICTED[kind].body  # type: ignore[index, union-attr]
    died, *loaded_again = hosted.calls()
    assert died in ("invoke m 500", "invoke m 503")
    assert loaded_again == ["unload m 200", "load m 200", "invoke m 200"]
    assert hosted.deviations() == ["invoke-lost"]


def test_a_dead_model_that_the_container_forgets_is_loaded_once_more(host: Host) -> None:
    hosted = host(TensorFlow220())
    hosted.invoke("m")
    hosted.container.kill("m")
    hosted.calls()
    assert hosted.invoke("m").ok
    assert hosted.calls() == ["invoke m 404", "load m 200", "invoke m 200"]
    assert hosted.deviations() == []


def test_the_timeline_shows_the_unload_of_a_dead_model(host: Host) -> None:
    hosted = host(MultiModelServer())
    hosted.invoke("m")
    hosted.container.kill("m")
    hosted.invoke("m")
    moves = [(event.kind, event.outcome) for event in hosted.timeline if event.kind in ("load", "unload")]
    assert moves == [("load", "ok"), ("unload", "ok"), ("load", "ok")]
    (unloaded,) = hosted.events("unload")
    assert unloaded.detail == {"reason": "its process is gone"}


def test_many_requests_for_a_dead_model_load_it_once(host: Host) -> None:
    hosted = host(TensorFlow21())
    hosted.invoke("m")
    hosted.container.kill("m")
    hosted.calls()
    with ThreadPoolExecutor(16) as pool:
        assert all(reply.ok for reply in pool.map(lambda _: hosted.invoke("m"), range(64)))
    calls = hosted.calls()
    assert [call for call in calls if not call.startswith("invoke")] == ["unload m 200", "load m 200"]
    assert hosted.deviations() == ["invoke-lost"]


def test_a_model_that_died_and_was_loaded_is_not_deleted_when_it_comes_back_from_disk(host: Host) -> None:
    hosted = host(TensorFlow21(room=1))
    hosted.invoke("m")
    hosted.container.kill("m")
    hosted.invoke("m")
    hosted.container.loaded.clear()  # as a restart of the handler does
    hosted.calls()
    assert hosted.invoke("m").ok
    assert hosted.calls() == ["invoke ? 404", "load m 200", "invoke m 200"]


def test_another_containers_words_for_a_dead_process_are_an_error_of_the_model(host: Host) -> None:
    hosted = host(TensorFlow21(CONTRACT))
    hosted.invoke("m")
    hosted.container.kill("m")
    assert hosted.invoke("m").status == 500
    assert hosted.calls() == ["load m 200", "invoke m 200", "invoke m 500"]


def test_the_error_of_a_container_that_no_longer_loads_an_id_is_passed_on(host: Host) -> None:
    hosted = host(TensorFlow21())
    hosted.invoke("m")
    hosted.container.corrupt.add("corrupt")
    assert hosted.model_error("corrupt")["OriginalStatusCode"] == 502
    hosted.calls()
    assert hosted.invoke("m").status == 500
    assert hosted.calls() == ["invoke ? 404", "load m 409", "invoke m 500"]
    assert hosted.deviations() == ["bad-gateway", "invoke-lost"]


# Ghosts


def test_a_ghost_of_a_failed_load_is_deleted_so_that_the_model_can_be_loaded(host: Host) -> None:
    hosted = host(MultiModelServer(room=0))
    assert hosted.model_error("m")["OriginalStatusCode"] == 507
    assert hosted.container.loaded == {}
    assert hosted.deviations() == ["ghost"]
    hosted.container.room = 1
    hosted.calls()
    assert hosted.invoke("m").ok
    assert hosted.calls() == ["load m 200", "invoke m 200"]


def test_a_ghost_that_appears_late_is_deleted_and_the_load_sent_once_more(host: Host) -> None:
    hosted = host(LateGhost(room=1))
    assert hosted.invoke("a").ok
    hosted.calls()
    assert hosted.invoke("b").ok
    assert hosted.calls() == [
        *("load b 507", "unload ? 404", "unload a 200"),
        *("load b 409", "unload b 200", "load b 200", "invoke b 200"),
    ]


def test_a_ghost_that_cannot_be_deleted_is_not_taken_for_the_model(host: Host) -> None:
    hosted = host(TensorFlow21())
    hosted.container.corrupt.add("m")
    assert hosted.model_error("m")["OriginalStatusCode"] == 502
    assert hosted.model_error("m")["OriginalStatusCode"] == 409
    assert [call for call in hosted.calls() if call.startswith("invoke")] == []
    assert hosted.deviations() == ["bad-gateway", "ghost"]


# Lack of memory


@pytest.mark.parametrize("kind", [TensorFlow, TensorFlow220, MultiModelServer])
def test_each_status_that_may_mean_lack_of_memory_evicts(host: Host, kind: Callable[..., Container]) -> None:
    hosted = host(kind(room=1))
    assert hosted.invoke("a").ok
    assert hosted.invoke("b").ok
    assert [(event.model, event.detail["room_for"]) for event in hosted.events("evict")] == [("a", "b")]
    assert hosted.invoke("a").ok


def test_a_408_for_another_reason_than_memory_is_passed_on(host: Host) -> None:
    hosted = host(TensorFlow220())
    hosted.container.corrupt.add("corrupt")
    for name in ("a", "b"):
        hosted.invoke(name)
    refused = hosted.model_error("corrupt")
    assert (refused["OriginalStatusCode"], refused["OriginalMessage"]) == (408, "Timed out after 20 seconds")
    assert [event.model for event in hosted.events("evict")] == ["a", "b"]
    assert [event.outcome for event in hosted.events("load") if event.model == "corrupt"] == ["408"] * 3
    assert hosted.deviations() == ["load-408"]


@pytest.mark.parametrize("dialect", [CONTRACT, TENSORFLOW_A], ids=lambda dialect: dialect.name)
def test_in_other_dialects_a_408_evicts_nothing(host: Host, dialect: Dialect) -> None:
    hosted = host(TensorFlow(dialect, room=1))
    hosted.invoke("a")
    assert hosted.model_error("b")["OriginalStatusCode"] == 408
    assert hosted.events("evict") == []


# Deviations


def test_each_kind_of_deviation_is_recorded_once(host: Host) -> None:
    hosted = host(TensorFlow220())
    hosted.container.corrupt |= {f"corrupt-{number}" for number in range(20)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hosted.model_error, sorted(hosted.container.corrupt)))
    (event,) = hosted.events("deviation")
    assert (event.source, event.server, event.outcome) == ("hosting", "e", "load-408")
    assert event.detail["call"] == "load"
    assert event.detail["status"] == 408
    assert event.detail["dialect"] == "AWS TensorFlow, 2.20"
    assert "507" in event.detail["what"]


def test_a_container_that_keeps_the_contract_has_no_deviations(host: Host) -> None:
    hosted = host(Container(CONTRACT, recorded="C"))
    for name in ("a", "b", "a"):
        assert hosted.invoke(name).ok
    assert hosted.deviations() == []
