"""An engine that is not simply on this machine: reached over the network, or with other files at the same paths."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest

from pytest_mme import Run
from pytest_mme.faults.tcp_relay import Relay
from pytest_mme.runtimes.base import controls_of
from pytest_mme.runtimes.docker.container_leases import RUN
from tests.conftest import run_on
from tests.lacking import lacking
from tests.runtimes.test_docker import containers_of

HANDLER = """
def input_handler(data, context):
    return data.read()

def output_handler(response, context):
    return b'"by the code"', "application/json"
"""
UNSEEN = """
import json, sys
from pathlib import Path
from pytest_mme import Run

with Run() as run:
    model = run.models.linear()
    with run.server() as server:
        server.load(model)
        right = server.invoke(model, [1.0]) == model.answer([1.0])
        server.unload(model)
        server.load(model)
        mounts = server.running._container.attrs["Mounts"]
    with run.server(code=sys.argv[1]) as server:
        server.load(model)
        coded = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}').json()
    Path(sys.argv[2]).write_text(json.dumps([right, mounts, coded, str(run.directory)]))
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "inference.py").write_text(HANDLER)
    return folder


@pytest.fixture
def remote_run(server_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run that reaches the engine over TCP."""
    local = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if local.scheme not in ("unix", "tcp"):
        lacking(f"the engine is reached by {local.scheme}")
    reached = (
        partial(asyncio.open_unix_connection, local.path)
        if local.scheme == "unix"
        else partial(asyncio.open_connection, local.hostname, local.port)
    )
    with Relay(reached).running() as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        with run_on(server_image) as run:
            yield run


def test_an_engine_over_tcp(remote_run: Run, engine: docker.DockerClient, code: Path) -> None:
    model = remote_run.models.linear()
    with remote_run.server(code=code) as server:
        server.load(model)
        reply = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}')
        assert reply.text == '"by the code"'
        assert {"start", "load", "invoke"} <= {event.kind for event in server.timeline if event.source != "client"}
        controls_of(server.running).stop()
        controls_of(server.running).start_again()
        server.load(model)
        remote_run.faults(server).kill(model)
    assert containers_of(engine, remote_run) == []


def test_an_engine_that_does_not_see_this_machines_files(
    engine: docker.DockerClient, server_image: str, code: Path, tmp_path: Path
) -> None:
    """In a mount namespace of its own, the temporary folder is one that the engine has not."""
    hide, report = tmp_path / "hidden", tmp_path / "report.json"
    hide.mkdir()
    namespace = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{hide}" && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        lacking("no mount namespace may be made here")
    environment = {"TMPDIR": str(hide), "PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": server_image}
    done = subprocess.run(
        [*namespace, sys.executable, "-c", UNSEEN, str(code), str(report)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    right, mounts, coded, directory = json.loads(report.read_text())
    assert (right, mounts, coded) == (True, [], "by the code")
    assert directory.startswith(str(hide))
    assert engine.containers.list(all=True, filters={"label": f"{RUN}={directory}"}) == []
