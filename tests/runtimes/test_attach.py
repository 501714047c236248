"""A server that somebody else has started: used, left without models, refused when it is of another kind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pytest_mme import Faults, Model, Run, Server, Settings
from pytest_mme.errors import ServerStartError, UnavailableError
from tests.lacking import lacking
from tests.users import NOBODY

pytestmark = pytest.mark.slow

Fault = Callable[[Faults, Model], contextlib.AbstractContextManager[object]]


@pytest.fixture
def theirs() -> Iterator[Server]:
    with Run() as run, run.server() as server:
        yield server


@contextlib.contextmanager
def attached(url: str, **more: str) -> Iterator[Run]:
    environment = {**os.environ, "PYTEST_MME_RUNTIME": "attach", "PYTEST_MME_URL": url, **more}
    with Run(Settings.resolve(environment=environment)) as run:
        yield run


def test_an_attached_server_answers_and_keeps_no_model(theirs: Server) -> None:
    with attached(theirs.client.url) as run:
        model = run.models.linear()
        with run.server() as ours:
            ours.load(model)
            assert ours.invoke(model, [1.0]) == model.answer([1.0])
            assert len(theirs.list()) == 1
            placed = ours.running.models
        assert theirs.list() == []
        assert not placed.exists()
    assert theirs.ping().ok


def test_another_users_server_can_read_the_models(theirs: Server) -> None:
    if os.geteuid():
        lacking("only root can be another user")
    with attached(theirs.client.url) as run, run.server() as ours:
        ours.load(run.models.linear())
        (archive,) = ours.running.models.glob("**/saved_model.pb")
        seen = subprocess.run(["cat", str(archive)], user=NOBODY, capture_output=True, check=False)
        assert seen.stdout == archive.read_bytes()


def test_an_endpoint_on_an_attached_server(theirs: Server) -> None:
    with attached(theirs.client.url) as run, run.aws() as aws:
        models = run.models.fleet(2)
        with run.endpoint(models, aws=aws) as endpoint:
            for model in models:
                assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    assert theirs.list() == []


BETWEEN: dict[str, Fault] = {
    "slow": lambda faults, _: faults.slowed(latency_s=0.01),
    "slow model": lambda faults, model: faults.slowed(model, latency_s=0.01),
    "cut": lambda faults, _: faults.cut(),
    "ping": lambda faults, _: faults.ping_failing(),
    "hog": lambda faults, model: faults.hogged(model),
    "chaos": lambda faults, model: faults.chaos(model, seconds=1, rate=50),
    "disk": lambda faults, _: faults.disk_full(),
    "S3 slow": lambda faults, _: faults.s3_slow(latency_s=0.01),
    "S3 failing": lambda faults, _: faults.s3_failing(),
    "S3 truncated": lambda faults, _: faults.s3_truncated(),
}
FAILING = ("cut", "disk", "S3 failing", "S3 truncated")
"""Within these a model that has to be fetched and loaded is refused; within the others it answers."""
OF_ITS_OWNER: dict[str, Fault] = {
    "paused": lambda faults, model: faults.paused(model),
    "squeezed": lambda faults, _: faults.squeezed(),
    "stopped": lambda faults, _: faults.stopped(),
    "at load": lambda faults, model: faults.out_of_memory(model, at="load"),
    "at predict": lambda faults, model: faults.out_of_memory(model, at="predict"),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_faults_between_the_client_and_an_attached_server_work(theirs: Server, name: str) -> None:
    with attached(theirs.client.url) as run, run.aws() as aws:
        a, b = run.models.fleet(2)
        with run.endpoint([a, b], aws=aws) as endpoint:
            assert endpoint.invoke(a, [1.0]) == a.answer([1.0])
            expected = pytest.raises(ClientError) if name in FAILING else contextlib.nullcontext()
            with BETWEEN[name](run.faults(endpoint), a), expected:
                endpoint.invoke(b, [1.0])
            for model in (a, b):
                assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
            assert [event for event in endpoint.timeline if event.kind == "fault"]


@pytest.mark.parametrize("fault", OF_ITS_OWNER.values(), ids=OF_ITS_OWNER)
def test_faults_of_an_attached_servers_processes_and_memory_are_unavailable(theirs: Server, fault: Fault) -> None:
    with attached(theirs.client.url) as run, run.server() as server:
        model = run.models.linear()
        server.load(model)
        faults = run.faults(server)
        with pytest.raises(UnavailableError), fault(faults, model):
            pytest.fail("it was broken")
        with pytest.raises(UnavailableError):
            faults.kill(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])


def test_the_server_gets_its_own_path_of_a_shared_folder(theirs: Server, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.symlink_to(here)
    with attached(theirs.client.url, PYTEST_MME_URL_MODELS=f"{here}:{there}") as run, run.server() as server:
        model = run.models.linear()
        server.load(model)
        assert server.get(model)["modelUrl"].startswith(f"{there}/")


@pytest.mark.parametrize("field", [{"memory_mib": 100}, {"cpus": 1}, {"image": "other"}, {"env": {"A": "1"}}])
def test_a_field_that_was_decided_when_the_server_started_is_refused(theirs: Server, field: dict[str, Any]) -> None:
    with (
        attached(theirs.client.url) as run,
        pytest.raises(UnavailableError, match="runs already"),
        run.server(**field),
    ):
        pass


class Website(BaseHTTPRequestHandler):
    """Answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class names it
        """Quietly."""


@pytest.fixture
def website() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Website) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_kind_of_server_is_refused(website: str) -> None:
    with (
        attached(website) as run,
        pytest.raises(ServerStartError, match="is not a multi-model server: GET /models replied 200: <html>"),
        run.server(),
    ):
        pass


def test_an_address_without_a_server_is_refused() -> None:
    with (
        attached("http://127.0.0.1:9") as run,
        pytest.raises(ServerStartError, match=r"nothing replies at http://127\.0\.0\.1:9"),
        run.server(),
    ):
        pass
