"""What keeps a container from starting, or ends it: a clear error within seconds, and no container is left."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from pytest_mme import Run, Server
from pytest_mme.errors import MMEError, NoAnswerError, ServerStartError, UnavailableError
from pytest_mme.runtimes import event_reader
from pytest_mme.runtimes.base import controls_of
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.runtimes.docker.engine import connect
from pytest_mme.waiting import wait_for
from tests.conftest import run_on
from tests.runtimes.test_docker import containers_of
from tests.users import nobody

Derive = Callable[..., str]

SOON_S = 20.0
"""No time-out was waited for: a server has 300 s to start, and nobody needs ten for what is wrong here."""
ANSWERING = """
import http.server, os, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "hang" in sys.argv and self.path == "/models":
            signal.pause()
        if "die" in sys.argv and self.path.startswith("/models/"):
            os._exit(4)
        body = {"/ping": b"{}", "/models": b'{"models": []}' if "both" in sys.argv else b""}.get(self.path, b"")
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
HANDLER = """
def input_handler(data, context):
    return data.read()

def output_handler(response, context):
    return b'"by the code"', "application/json"
"""


def entry_point(*command: str) -> str:
    return f"ENTRYPOINT {json.dumps(command)}"


def left(engine: docker.DockerClient, run: Run) -> list[str]:
    """The containers of the run that are there, by label and by its own record."""
    record = run.directory / container_leases.RECORD
    recorded = record.read_text().split() if record.exists() else []
    there = {str(one.name) for one in engine.containers.list(all=True, ignore_removed=True)}
    return sorted({*containers_of(engine, run), *there.intersection(recorded)})


def refused(error: type[MMEError], run: Run, engine: docker.DockerClient, **fields: Any) -> str:
    """The message of the error when a server with these fields is requested."""
    began = time.monotonic()
    with pytest.raises(error) as refusal, run.server(**fields):
        pass
    assert time.monotonic() - began < SOON_S
    assert left(engine, run) == []
    message = str(refusal.value)
    assert "next:" in message
    return message


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, and nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    "host", ["tcp://127.0.0.1:{port}", "unix://{folder}/none.sock", "unix://{folder}", "tcp://", "ftp://127.0.0.1", "!"]
)
def test_an_engine_that_does_not_answer(
    host: str, closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host.format(port=closed_port, folder=tmp_path))
    with run_on("any") as run, pytest.raises(UnavailableError) as missing, run.server():
        pass
    assert missing.value.asked == "a container engine"
    assert "start Docker, or point DOCKER_HOST at an engine; without one, use --mme-runtime=local" in str(missing.value)


def test_missing_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="certificate"):
        connect()


def test_an_engine_that_this_user_may_not_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listening, monkeypatch.context() as here:
        here.chdir(tmp_path)  # a socket's path may have no more than 107 bytes
        listening.bind("engine.sock")
        listening.listen()
        Path("engine.sock").chmod(0)
        here.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        with nobody(), pytest.raises(UnavailableError) as closed:
            connect()
    assert "this user may not use the engine: join the group docker" in str(closed.value)


def test_a_missing_image_that_must_not_be_pulled(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_MME_PULL", "never")
    with run_on("absent:1") as run:
        assert "let --mme-pull=missing do it" in refused(UnavailableError, run, engine)


def test_an_image_that_cannot_be_pulled(docker_run: Run, engine: docker.DockerClient, closed_port: int) -> None:
    name = f"127.0.0.1:{closed_port}/absent:1"
    message = refused(UnavailableError, docker_run, engine, image=name)
    assert f"the image {name} cannot be had here" in message
    assert "refused" in message
    assert "docker login" in message


def test_a_missing_image_of_the_kit_is_not_pulled(docker_run: Run, engine: docker.DockerClient) -> None:
    message = refused(UnavailableError, docker_run, engine, image="pytest-mme-absent:1")
    assert "build it: pytest-mme image build absent" in message


@pytest.mark.parametrize("name", ["UPPER", "no such!!", "-", "a" * 300, "\u202e", "a:b:c", "http://a/b"])
def test_an_invalid_image_name(docker_run: Run, engine: docker.DockerClient, name: str) -> None:
    assert "check its name" in refused(UnavailableError, docker_run, engine, image=name)


@pytest.mark.parametrize("value", ["false", "", "True"])
def test_an_image_without_the_multi_model_label(
    docker_run: Run, engine: docker.DockerClient, derived: Derive, value: str
) -> None:
    label = "com.amazonaws.sagemaker.capabilities.multi-models"
    image = derived(f'LABEL {label}="{value}"')
    message = refused(UnavailableError, docker_run, engine, image=image)
    assert f"its label {label} is {value!r}; SageMaker asks for 'true'" in message
    assert f"LABEL {label}=true" in message


def test_an_entry_point_that_ends(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    image = derived(entry_point("sh", "-c", "echo to stdout; echo to stderr >&2; printf 'no newline'; exit 3"))
    message = refused(ServerStartError, docker_run, engine, image=image)
    assert "the container ended with code 3\n" in message
    assert {"to stdout", "to stderr", "no newline"} <= set(message.splitlines())
    assert "docker run --rm" in message


def test_a_missing_entry_point(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    message = refused(ServerStartError, docker_run, engine, image=derived(entry_point("no-such-program")))
    assert '"no-such-program": executable file not found' in message


def test_a_server_that_only_pings(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    image = derived(entry_point("python3", "-c", ANSWERING))
    message = refused(ServerStartError, docker_run, engine, image=image)
    assert "waiting for GET /models to reply 200, as /ping does" in message
    assert "it replied 404" in message


def test_a_server_that_never_lists_its_models(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    image = derived(entry_point("python3", "-c", ANSWERING, "hang"))
    message = refused(ServerStartError, docker_run, engine, image=image)
    assert "waiting for GET /models to reply 200, as /ping does" in message
    assert "timed out" in message


def test_a_server_that_dies_when_it_is_ready(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    image = derived(entry_point("python3", "-c", ANSWERING, "both", "die"), "LABEL pytest-mme.events=none")
    message = refused(ServerStartError, docker_run, engine, image=image)
    assert "got no reply" in message
    assert '"GET /models HTTP/1.1" 200' in message  # the end of its log


def test_a_server_that_does_not_answer(docker_run: Run, engine: docker.DockerClient, derived: Derive) -> None:
    image = derived(entry_point("sh", "-c", "exec sleep 600"))
    message = refused(ServerStartError, docker_run, engine, image=image, start_s=2)
    assert "waiting for GET /ping to reply 200" in message
    assert "the limit is 2 s" in message
    assert "the server has to listen on port 8080" in message


def test_an_image_labelled_as_embedded_without_events(
    docker_run: Run, engine: docker.DockerClient, derived: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "_FACTS_S", 0.5)
    lines = (entry_point("python3", "-c", ANSWERING, "both"),)
    message = refused(ServerStartError, docker_run, engine, image=derived(*lines))
    assert "LABEL pytest-mme.events=none" in message
    with docker_run.server(image=derived(*lines, "LABEL pytest-mme.events=none")) as server:
        assert server.list() == []


def test_a_container_that_is_removed_while_it_starts(
    docker_run: Run, engine: docker.DockerClient, derived: Derive
) -> None:
    image = derived(entry_point("sh", "-c", "exec sleep 600"))
    with ThreadPoolExecutor() as thread:
        starting = thread.submit(refused, ServerStartError, docker_run, engine, image=image)

        def running() -> Container | None:
            found = map(engine.containers.get, containers_of(engine, docker_run))
            return next((one for one in found if one.status == "running"), None)

        wait_for(running, what="a container", timeout_s=SOON_S).remove(force=True)
        message = starting.result()
    assert "the container was removed" in message or "ended with code 137" in message  # it ends before it goes


def test_less_memory_than_the_server_needs(docker_run: Run, engine: docker.DockerClient) -> None:
    message = refused(ServerStartError, docker_run, engine, memory_mib=20)
    assert "the kernel killed the container for lack of memory" in message
    assert "give the server more, memory_mib=" in message


def test_less_memory_than_the_engine_allows(docker_run: Run, engine: docker.DockerClient) -> None:
    message = refused(ServerStartError, docker_run, engine, memory_mib=4)
    assert "the engine reports: Minimum memory limit allowed is" in message


def test_more_processors_than_the_machine_has(docker_run: Run, engine: docker.DockerClient) -> None:
    message = refused(ServerStartError, docker_run, engine, cpus=1024)
    assert "the engine reports: " in message


def test_a_gpu_that_the_engine_cannot_give(docker_run: Run, engine: docker.DockerClient) -> None:
    if "nvidia" in str(engine.info().get("Runtimes")):
        pytest.skip("the engine here has NVIDIA's runtime")
    message = refused(UnavailableError, docker_run, engine, device="gpu")
    assert "could not select device driver" in message
    assert "NVIDIA's container toolkit" in message


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PYTEST_MME_SERVING": "nonsense"}, "PYTEST_MME_SERVING does not hold a server's settings"),
        ({"SAGEMAKER_BIND_TO_PORT": "nonsense"}, "SAGEMAKER_BIND_TO_PORT is 'nonsense': give a port, 1 to 65535"),
        ({"SAGEMAKER_MULTI_MODEL": "no"}, "SAGEMAKER_MULTI_MODEL is 'no'"),
        ({"PYTHONHOME": "/nowhere"}, "ModuleNotFoundError"),
    ],
)
def test_an_environment_that_the_server_cannot_use(
    docker_run: Run, engine: docker.DockerClient, environment: dict[str, str], message: str
) -> None:
    assert message in refused(ServerStartError, docker_run, engine, env=environment)


@pytest.mark.parametrize("environment", [{"A=B": "1"}, {"": "1"}, {"A": "\0"}, {"A": 1}, "A=1"])
def test_a_wrong_environment_is_refused(docker_run: Run, environment: Any) -> None:
    with pytest.raises(ValueError, match="give names and values, both text"), docker_run.server(env=environment):
        pass


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Closed to everybody else, as temporary folders are, with what folders of code also hold."""
    folder = tmp_path / "code"
    (folder / "lib").mkdir(parents=True)
    (tmp_path / "handler.py").write_text(HANDLER)
    (folder / "inference.py").symlink_to(tmp_path / "handler.py")
    (folder / "lib" / "loop").symlink_to(folder)
    (folder / ".#lock").symlink_to("nobody@nowhere.1")
    os.mkfifo(folder / "pipe")
    for path in (folder, folder / "lib", tmp_path / "handler.py"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


def test_a_folder_of_code_that_others_may_not_read(docker_run: Run, engine: docker.DockerClient, code: Path) -> None:
    model = docker_run.models.linear()
    with docker_run.server(code=code) as server:
        server.load(model)
        reply = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}')
        assert reply.text == '"by the code"'
    assert left(engine, docker_run) == []


def test_code_that_is_not_python(docker_run: Run, engine: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text("this is no Python")
    assert "SyntaxError" in refused(ServerStartError, docker_run, engine, code=tmp_path)


def container_of(engine: docker.DockerClient, run: Run) -> Container:
    (name,) = containers_of(engine, run)
    return engine.containers.get(name)


def check_that_the_end_is_recorded(server: Server, outcome: str, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        server.ping()
    (crash,) = [event for event in server.timeline if event.kind == "crash"]
    assert (crash.source, crash.outcome) == ("engine", outcome)
    assert server.running.gone() == why
    with pytest.raises(UnavailableError, match="do it while the container runs"):
        controls_of(server.running).signal("any", "KILL")
    assert time.monotonic() - began < SOON_S


def test_a_server_that_is_killed(docker_run: Run, engine: docker.DockerClient) -> None:
    model = docker_run.models.linear("a")
    with docker_run.server() as server:
        server.load(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])
        container_of(engine, docker_run).kill("SIGKILL")
        check_that_the_end_is_recorded(server, "exit 137", "the container ended with code 137")
        with pytest.raises(AssertionError, match=r"^a died at .* s and has not replied since"):
            server.check_recovers(model, within_s=60)
    assert left(engine, docker_run) == []


def test_a_container_that_is_removed(docker_run: Run, engine: docker.DockerClient) -> None:
    with docker_run.server() as server:
        container_of(engine, docker_run).remove(force=True)
        check_that_the_end_is_recorded(server, "exit 137", "the container was removed")
        with pytest.raises(UnavailableError, match="while it runs"):
            controls_of(server.running).limit_memory(2**30)
        with pytest.raises(UnavailableError, match="No such container"):
            controls_of(server.running).stop()
    assert left(engine, docker_run) == []
    assert not [thread.name for thread in threading.enumerate() if server.name in thread.name]
