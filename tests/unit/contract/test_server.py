"""`Server` with containers that deviate from the contract: uniform replies, and one event for each kind of deviation."""

from __future__ import annotations

import contextlib
import dataclasses
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_mme import Event, Model, Server, Timeline
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.deviations import DeviationRecorder
from pytest_mme.contract.dialects import CONTRACT, Dialect
from pytest_mme.errors import ContractError
from tests.unit.contract.replay import (
    Container,
    MultiModelServer,
    Response,
    TensorFlow21,
    TensorFlow220,
    serving,
)


@dataclasses.dataclass
class Here:
    """Where the container runs: in this process."""

    client: ContractClient
    models: Path
    dialect: Dialect
    name: str = "s"

    def place(self, folder: Path) -> str:
        return str(folder)

    def log(self) -> str:
        return ""

    def catch_up(self) -> None:
        pass


Started = Callable[[Container], Server]


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


@pytest.fixture
def start(tmp_path: Path, timeline: Timeline) -> Iterator[Started]:
    with contextlib.ExitStack() as undo:

        def started(container: Container) -> Server:
            here = Here(undo.enter_context(serving(container)), tmp_path / "models", container.dialect)
            return Server(here, timeline)  # type: ignore[arg-type]

        yield started


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """An archive that holds its name."""
    (tmp_path / "name").write_text("m")
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "name", "name")
    return Model(name="m", archive=tmp_path / "m.tar.gz")


def kinds(server: Server) -> list[str]:
    return [event.outcome for event in server.timeline if event.kind == "deviation"]


@pytest.mark.parametrize(
    ("kind", "gives_folder", "deviations"),
    [
        (TensorFlow21, False, ["list-shape", "get-error"]),
        (TensorFlow220, False, ["list-shape", "get-shape"]),
        (MultiModelServer, True, ["get-extra-fields"]),
    ],
)
def test_a_loaded_model_is_listed_and_described_alike_by_all_containers(
    start: Started, model: Model, kind: Callable[[], Container], gives_folder: bool, deviations: list[str]
) -> None:
    server = start(kind())
    identifier = server.load(model)
    folder = str(server.running.models / identifier / "model")
    for _ in range(2):
        assert server.list() == [{"modelName": identifier, "modelUrl": folder if gives_folder else ""}]
        described = server.get(model)
        assert described.keys() == {"modelName", "modelUrl"}
        assert described["modelName"] == identifier
        assert (described["modelUrl"] != "") is gives_folder
    assert kinds(server) == deviations


@pytest.mark.parametrize("kind", [TensorFlow21, TensorFlow220, MultiModelServer])
def test_a_model_that_is_not_loaded_is_404_with_all_containers(
    start: Started, model: Model, kind: Callable[[], Container]
) -> None:
    server = start(kind())
    server.load(model)
    server.unload(model)
    with pytest.raises(ContractError, match="get of m replied 404"):
        server.get(model)


def test_a_list_that_fails_raises_the_containers_error(start: Started, model: Model) -> None:
    container = TensorFlow220()
    server = start(container)
    server.load(model)
    container.kill("m")
    with pytest.raises(ContractError, match=r"GET /models replied 500\n.*Connection refused"):
        server.list()
    assert kinds(server) == ["list-error"]


def test_a_list_that_ends_with_an_empty_page_is_read_whole(start: Started) -> None:
    container = MultiModelServer()
    container.loaded = {f"m{number}": f"/{number}" for number in range(100)}
    server = start(container)
    assert [one["modelName"] for one in server.list()] == list(container.loaded)
    assert kinds(server) == ["list-empty-page"]


class Refusing(TensorFlow21):
    """Its models refuse every request."""

    def invoke(self, identifier: str) -> Response:
        return self.recorded("invoke, wrong input name")


def test_an_error_in_a_reply_that_says_200_is_raised(start: Started, model: Model) -> None:
    server = start(Refusing())
    server.load(model)
    for _ in range(2):
        with pytest.raises(ContractError, match=r"invoke of m replied 200\n.*does not have named input"):
            server.invoke(model, [1.0])
    assert [event.outcome for event in server.timeline if event.kind == "invoke"] == ["200", "200"]
    assert kinds(server) == ["invoke-error-200"]


def test_a_ping_with_a_body_is_good_and_recorded_once(start: Started) -> None:
    server = start(MultiModelServer())
    assert server.ping().ok
    assert server.ping().ok
    (event,) = server.timeline
    assert (event.kind, event.source, event.server, event.outcome) == ("deviation", "client", "s", "ping-body")
    assert event.detail["dialect"] == "multi-model-server"


def test_two_recorders_of_one_server_record_a_deviation_once(start: Started, timeline: Timeline) -> None:
    server = start(MultiModelServer())
    server.ping()
    runtime = DeviationRecorder(server.running.dialect, timeline, server="s", source="engine")
    other = DeviationRecorder(server.running.dialect, timeline, server="another", source="engine")
    for recorder in (runtime, other):
        recorder.record("ping", server.client.ping())
    assert [(event.server, event.outcome) for event in timeline] == [("s", "ping-body"), ("another", "ping-body")]


class Slow(Timeline):
    """While it is read, another thread does *meanwhile*, once."""

    meanwhile: Callable[[], object] | None = None

    def of(self, server: str) -> tuple[Event, ...]:
        found = super().of(server)
        if self.meanwhile:
            thread = threading.Thread(target=self.meanwhile)
            self.meanwhile = None
            thread.start()
            thread.join()
        return found


def test_two_threads_with_the_same_reply_at_once_record_it_once() -> None:
    timeline, ill = Slow(), Reply(200, b"{}", {}, 0.0)
    recorder = DeviationRecorder(CONTRACT, timeline, server="s", source="client")
    timeline.meanwhile = lambda: recorder.record("ping", ill)
    recorder.record("ping", ill)
    assert [event.outcome for event in timeline] == ["ping-body"]


def test_models_holds_every_model_that_was_to_be_loaded(start: Started, model: Model) -> None:
    server = start(MultiModelServer(room=0))
    with pytest.raises(ContractError, match="load of m replied 507"):
        server.load(model)
    assert server.models == {"m": model}


def test_a_server_that_has_models_already_knows_their_ids(start: Started, model: Model, timeline: Timeline) -> None:
    server = Server(start(Container()).running, timeline, loaded={"its id": model})
    assert (server.identifier(model), server.models) == ("its id", {"m": model})
