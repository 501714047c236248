"""The container runtime on Podman, whose service speaks the engine's API."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from pytest_mme.errors import MMEError
from pytest_mme.runtimes.docker.engine import connect
from pytest_mme.waiting import wait_for
from tests.conftest import run_on
from tests.lacking import lacking
from tests.runtimes.test_docker import containers_of

STARTED_S = 30.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where this Podman keeps everything, apart from any other."""
    with tempfile.TemporaryDirectory(prefix="mme-podman-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Of a Podman service of our own."""
    if not shutil.which("podman"):
        lacking("Podman is not installed")
    command = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "runroot")]
    command += ["--cgroup-manager", "cgroupfs"]
    if runc := shutil.which("runc"):  # crun, which Debian's Podman prefers, refuses cgroups in hybrid mode
        command += ["--runtime", runc]
    address = f"unix://{folder}/podman.sock"
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            [*command, "system", "service", "--time", "0", address],
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CONTAINERS_CONF": str(configuration(folder))},
        )
        try:
            yield address
        finally:
            service.terminate()
            service.wait()
            subprocess.run([*command, "rmi", "--all", "--force"], check=True, capture_output=True)
            subprocess.run(["umount", str(folder / "root" / "overlay")], check=False, capture_output=True)


def configuration(folder: Path) -> Path:
    """Podman gives containers limits that root may not set on a machine that is itself confined."""
    path = folder / "containers.conf"
    path.write_text('[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n')
    return path


@pytest.fixture(scope="module")
def podman(address: str, engine: docker.DockerClient, server_image: str) -> Iterator[docker.DockerClient]:
    """Podman with the embedded server's image, as the environment names it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DOCKER_HOST", address)
        with contextlib.closing(answering()) as client:
            client.images.load(engine.images.get(server_image).save(named=True))  # type: ignore[arg-type]  # it is sent on
            try_a_container(client, server_image)
            yield client


def try_a_container(client: docker.DockerClient, image: str) -> None:
    """Skip, even where everything has to be tested, when this Podman cannot run any container on this machine."""
    try:
        client.containers.run(image, entrypoint=["true"], network_mode="none", remove=True)
    except docker.errors.APIError as error:
        pytest.skip(f"Podman cannot run a container here: {error.explanation}")


def answering() -> docker.DockerClient:
    """The service once it answers."""

    def look() -> docker.DockerClient | None:
        try:
            return connect()
        except MMEError:
            return None

    return wait_for(look, what="Podman's service", timeout_s=STARTED_S)


def test_a_container_on_podman_answers_and_is_removed(podman: docker.DockerClient, server_image: str) -> None:
    with run_on(server_image) as run:
        model = run.models.linear()
        with run.server(memory_mib=600) as server:
            assert len(containers_of(podman, run)) == 1
            server.load(model)
            assert server.invoke(model, [1.0]) == model.answer([1.0])
            assert server.running.used_bytes() > 2**20
            run.faults(server).kill(model)
            server.load(model)
            with run.faults(server).stopped():
                pass
            kinds = [event.kind for event in server.timeline if event.source in ("server", "engine")]
        assert containers_of(podman, run) == []
    assert [kind for kind in kinds if kind in ("start", "load", "crash", "stop", "restart")] == [
        *("start", "load", "crash", "load", "stop", "restart")
    ]
