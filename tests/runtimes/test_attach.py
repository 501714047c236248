"""A server that somebody else has started: asked, left as it was, refused when it is no multi-model server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Run, Server, Settings
from pytest_mme.errors import ServerStartError, UnavailableError
from tests.lacking import lacking

NOBODY = 65534


@pytest.fixture
def theirs() -> Iterator[Server]:
    with Run() as run, run.server() as server:
        yield server


@contextlib.contextmanager
def attached(url: str, **more: str) -> Iterator[Run]:
    environment = {**os.environ, "PYTEST_MME_RUNTIME": "attach", "PYTEST_MME_URL": url, **more}
    with Run(Settings.resolve(environment=environment)) as run:
        yield run


def test_an_attached_server_answers_and_is_left_as_it_was(theirs: Server) -> None:
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


def test_a_server_of_another_user_reads_what_is_placed_for_it(theirs: Server) -> None:
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


def test_a_shared_folder_is_called_by_the_servers_name_for_it(theirs: Server, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.symlink_to(here)
    with attached(theirs.client.url, PYTEST_MME_URL_MODELS=f"{here}:{there}") as run, run.server() as server:
        model = run.models.linear()
        server.load(model)
        assert server.get(model)["modelUrl"].startswith(f"{there}/")


@pytest.mark.parametrize("field", [{"memory_mib": 100}, {"cpus": 1}, {"image": "other"}, {"env": {"A": "1"}}])
def test_what_its_owner_has_decided_is_refused(theirs: Server, field: dict[str, Any]) -> None:
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


def test_what_is_no_multi_model_server_is_refused(website: str) -> None:
    with (
        attached(website) as run,
        pytest.raises(ServerStartError, match="is no multi-model server: GET /models answered 200: <html>"),
        run.server(),
    ):
        pass


def test_nobody_there_is_said() -> None:
    with (
        attached("http://127.0.0.1:9") as run,
        pytest.raises(ServerStartError, match=r"nothing answers at http://127\.0\.0\.1:9"),
        run.server(),
    ):
        pass
