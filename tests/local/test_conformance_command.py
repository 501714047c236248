"""`pytest-mme conformance` on the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Models, Server
from pytest_mme.cli import app
from pytest_mme.contract.conformance.judge import CLAUSES, Specimens
from tests.unit.contract.lawful import Lawful, Response, subject
from tests.unit.contract.unlawful.looking import RepliesToPingWithABody


def conformance(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["conformance", *map(str, arguments)])


@pytest.fixture
def specimens(mme_models: Models) -> Specimens:
    return Specimens.build(mme_models)


def test_a_server_that_keeps_the_contract_passes_with_status_0(mme_server: Callable[..., Server]) -> None:
    server = mme_server()
    done = conformance(server.client.url)
    assert done.exit_code == 0, done.output
    assert f"{len(CLAUSES) - 2} pass, 0 deviate, 2 not judged" in done.output
    assert server.list() == []


def test_a_deviation_is_shown_with_its_clause_and_the_last_call(specimens: Specimens, tmp_path: Path) -> None:
    with subject(RepliesToPingWithABody(specimens), tmp_path) as target:
        done = conformance(target.client.url)
    assert done.exit_code == 1
    for words in ("the body has 8 bytes", "The reply to a ping has no body. (D)", "sent: GET /ping", "1 deviate"):
        assert words in done.output


def test_a_url_at_which_nobody_listens_is_one_sentence_and_what_to_try(tmp_path: Path) -> None:
    done = conformance("http://127.0.0.1:1", "--json", tmp_path / "found.json")
    assert done.exit_code == 2
    assert done.output.splitlines() == [
        "http://127.0.0.1:1 could not be judged: the server does not reply: Connection refused",
        "  next: start the server, or correct its address",
    ]
    assert json.loads((tmp_path / "found.json").read_text())["verdict"] == "not judged"


def test_pages_are_judged_on_demand_and_json_is_written(specimens: Specimens, tmp_path: Path) -> None:
    with subject(RepliesToPingWithABody(specimens), tmp_path) as target:
        done = conformance(target.client.url, "--pages", "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert done.exit_code == 1
    assert found["url"] == target.client.url
    assert found["verdict"] == "deviation"
    assert found["summary"] == {"pass": len(CLAUSES) - 2, "deviation": 1, "not_judged": 1}
    assert [one["id"] for one in found["clauses"]] == [clause.id for clause in CLAUSES]
    (broken,) = [one for one in found["clauses"] if one["verdict"] == "deviation"]
    (exchange,) = broken["exchanges"]
    assert (broken["id"], broken["source"], exchange["sent"]) == ("ping.empty", "D", "GET /ping")
    assert (exchange["seen"], exchange["seconds"] >= 0) == ("200 healthy", True)


def test_json_on_the_standard_output_stands_alone_there(specimens: Specimens, tmp_path: Path) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        done = conformance(target.client.url, "--json", "-")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["verdict"] == "pass"
    assert "pass, 0 deviate" in done.stderr


class Contained(Lawful):
    """Sees the folder of its models at another path."""

    folder = Path()

    def model_in(self, url: str) -> object:  # type: ignore[override]
        assert url.startswith("/opt/ml/models/")
        return super().model_in(url.replace("/opt/ml/models", str(self.folder)))


def test_the_server_may_see_the_folder_at_another_path(specimens: Specimens, tmp_path: Path) -> None:
    server = Contained(specimens)
    server.folder = tmp_path
    with subject(server, tmp_path) as target:
        done = conformance(target.client.url, "--models", tmp_path, "--models-at", "/opt/ml/models")
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == []


def test_where_the_server_cannot_see_the_models_the_options_for_that_are_named(
    specimens: Specimens, tmp_path: Path
) -> None:
    with subject(Lawful(specimens), tmp_path) as target:
        done = conformance(target.client.url, "--models", tmp_path, "--models-at", "/somewhere/else")
    assert done.exit_code == 1
    assert "If the server cannot see the test models: --models and --models-at" in done.output


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """A web server that is not a multi-model server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_another_kind_of_web_server_deviates(web_server: str) -> None:
    done = conformance(web_server)
    assert done.exit_code == 1
    assert "the reply is 404, not 200" in done.output
    assert "the reply is 501, not 200" in done.output


def test_an_address_without_a_server_ends_with_status_2() -> None:
    done = conformance("http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "the server does not reply" in " ".join(done.output.split())


@pytest.mark.parametrize("target", ["ftp://localhost", "http://", "http://localhost:8080/models"])
def test_a_target_that_is_not_an_address_is_refused(target: str) -> None:
    done = conformance(target)
    assert done.exit_code == 2
    assert "is not a server's address" in " ".join(done.output.split())


def test_an_address_without_its_scheme_is_not_taken_for_an_image() -> None:
    done = conformance("localhost:8080")
    assert done.exit_code == 2
    assert "write http://localhost:8080" in " ".join(done.output.split())


def test_models_at_without_models_is_refused() -> None:
    done = conformance("http://127.0.0.1:9", "--models-at", "/opt/ml/models")
    assert done.exit_code == 2
    assert "--models" in done.output


def test_a_full_disk_is_reported_with_status_2(
    specimens: Specimens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_mme.contract.conformance.trial.extract", full)
    with subject(Lawful(specimens), tmp_path) as target:
        done = conformance(target.client.url)
    assert done.exit_code == 2
    assert "could not be judged: [Errno 28] No space left on device" in " ".join(done.output.split())


class Busy(Lawful):
    """Holds each request to a loaded model until the test is over."""

    def __init__(self, specimens: Specimens) -> None:
        super().__init__(specimens)
        self.invoked = threading.Event()

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if identifier in self.loaded:
            self.invoked.set()
            self.released.wait()
        return super().invoke(identifier, body, headers)


def _as_in_a_terminal() -> None:
    """Take SIGINT as a shell's foreground does: processes that it starts in the background inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_unloads_its_models_and_removes_their_files(
    specimens: Specimens, tmp_path: Path, sent: signal.Signals
) -> None:
    server = Busy(specimens)
    with subject(server, tmp_path) as target:
        command = [sys.executable, "-m", "pytest_mme.cli", "conformance", target.client.url, "--models", str(tmp_path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_as_in_a_terminal
        ) as process:
            assert server.invoked.wait(60)
            process.send_signal(sent)
            assert process.wait(60) == 130
        assert server.loaded == {}
    assert list(tmp_path.iterdir()) == []
