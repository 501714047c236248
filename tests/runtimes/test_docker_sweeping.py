"""Nothing is left of a run: neither at its end nor, after SIGKILL, by the next run or `pytest-mme sweep`."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import psutil
import pytest
from docker.models.containers import Container
from typer.testing import CliRunner

from pytest_mme import Run, Settings
from pytest_mme.cli import app
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.runtimes.docker.container_leases import RUN
from pytest_mme.runtimes.docker.probes import CgroupProbe, probe_of
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.waiting import wait_for
from tests.conftest import run_on
from tests.processes import survivors
from tests.runtimes.test_docker import containers_of
from tests.stress.figures import RecordProperty, show

EXPLORE = os.environ.get("MME_EXPLORE")
"""How many moments to kill at, each time others; unset: always the same few (CONTRIBUTING.md)."""
MOMENTS = range(int(EXPLORE or 3))

LIFE = """
import os, signal, sys
import docker.models.containers as containers
from pytest_mme import Run
from pytest_mme.runtimes.docker import container_leases

container_leases._owner = lambda: sys.argv[2]

def kill_at(kind, call, before):
    original = getattr(kind, call)
    def calling(*arguments, **fields):
        if before:
            os.kill(os.getpid(), signal.SIGKILL)
        original(*arguments, **fields)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(kind, call, calling)

moment = sys.argv[1]
if moment == "before it is created":
    kill_at(containers.ContainerCollection, "create", before=True)
if moment == "when it is created":
    kill_at(containers.ContainerCollection, "create", before=False)
if moment == "while it starts":
    kill_at(containers.Container, "start", before=False)
with Run() as run:
    model = run.models.linear()
    with run.server() as server:
        server.load(model)
        if moment == "while a test runs":
            os.kill(os.getpid(), signal.SIGKILL)
        server.invoke(model, [1.0])
        server.unload(model)
"""
BLOCKING = """
    import threading
    from pathlib import Path
    import pytest

    @pytest.mark.parametrize("number", [1, 2])
    def test_one(mme_server, mme_models, number):
        model = mme_models.linear()
        server = mme_server()
        server.load(model)
        draft = Path(f"{number}.tmp")
        draft.write_text(server.running.container_name)
        draft.rename(f"{number}.up")
        if Path("block").exists():
            threading.Event().wait()
"""
STARTED_S = 60.0

Suite = Callable[[int], contextlib.AbstractContextManager[subprocess.Popen[bytes]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test's runs, and of what sweeps after them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def environment(folder: Path, server_image: str, mme_settings: Settings) -> Mapping[str, str]:
    """Of processes with runs."""
    cache = str(mme_settings.cache.value)
    kit = {"PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": server_image, "PYTEST_MME_CACHE": cache}
    return {**os.environ, **kit, "TMPDIR": str(folder)}


@pytest.fixture
def live(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], subprocess.Popen[bytes]]:
    """Starts a process with a run, which kills itself at that moment. No other run here sweeps after it."""
    owner = uuid.uuid4().hex
    monkeypatch.setattr(container_leases, "_owner", lambda: owner)

    def start(moment: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", LIFE, moment, owner], env=environment, start_new_session=True)

    return start


def of_folder(engine: docker.DockerClient, folder: Path) -> list[Container]:
    """The containers of all runs below *folder*."""
    found = engine.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
    return [one for one in found if Path(one.labels[RUN]).is_relative_to(folder)]


def left() -> list[str]:
    """Directories of runs, and their locks."""
    return sorted(path.name for path in leases.base().iterdir())


def sweep() -> str:
    done = CliRunner().invoke(app, ["sweep"])
    assert done.exit_code == 0
    return " ".join(done.output.split())


def begin_a_run(image: str) -> None:
    with run_on(image) as run:
        run.runtime.identity(ServerSpec())


def cgroups_of(containers: list[Container]) -> list[Path]:
    """The kernel's directories of those that run."""
    probes = [probe_of(one) for one in containers if one.status == "running"]
    return [probe.cgroup.directory for probe in probes if isinstance(probe, CgroupProbe)]


@pytest.mark.parametrize(
    ("moment", "containers"),
    [("before it is created", 0), ("when it is created", 1), ("while it starts", 1), ("while a test runs", 1)],
)
@pytest.mark.parametrize("who", ["the next run", "the command"])
def test_a_run_that_was_killed_is_swept(
    live: Callable[[str], subprocess.Popen[bytes]],
    engine: docker.DockerClient,
    server_image: str,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    moment: str,
    containers: int,
    who: str,
) -> None:
    assert live(moment).wait(STARTED_S) == -signal.SIGKILL
    found = of_folder(engine, folder)
    assert len(found) == containers
    cgroups = cgroups_of(found)
    (directory,) = (path for path in leases.base().iterdir() if path.is_dir())
    caplog.set_level(logging.INFO, logger="pytest_mme")
    if who == "the command":
        assert f"removed directory {directory}" in sweep()
    else:
        begin_a_run(server_image)
    assert of_folder(engine, folder) == []
    assert left() == []
    assert not [path for path in cgroups if path.exists()]
    for one in found:
        assert f"removed the container {one.name}, left by a run that died" in caplog.text
    assert f"swept {directory}, left by a run that died" in caplog.text


def test_a_container_without_its_runs_directory_is_swept_by_its_label(
    live: Callable[[str], subprocess.Popen[bytes]], engine: docker.DockerClient, folder: Path
) -> None:
    assert live("when it is created").wait(STARTED_S) == -signal.SIGKILL
    (container,) = of_folder(engine, folder)
    leases.base().rename(folder / "elsewhere")
    assert f"removed container {container.name}" in sweep()
    assert of_folder(engine, folder) == []


@pytest.mark.parametrize("number", MOMENTS)
@pytest.mark.parametrize("workers", [0, 2])
def test_pytest_killed_at_any_moment_is_swept(
    suite: Suite,
    engine: docker.DockerClient,
    server_image: str,
    folder: Path,
    lasts_s: Mapping[int, float],
    record_property: RecordProperty,
    workers: int,
    number: int,
) -> None:
    dice = random.Random(None if EXPLORE else number)  # noqa: S311, RUF100
    after_s = dice.uniform(0.2, 0.9) * lasts_s[workers]  # before that, Python is being started
    with suite(workers) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        code = process.wait()
        assert survivors(children, timeout_s=STARTED_S) == []
    found = {one.name: one.status for one in of_folder(engine, folder)}
    show(record_property, after_s=round(after_s, 2), code=code, containers=found)
    begin_a_run(server_image)
    late = {one.name: one.status for one in of_folder(engine, folder)}
    assert not set(late) & set(found)
    if late:  # the engine was still creating it when that run began
        show(record_property, late=late)
        assert set(late.values()) == {"created"}
        begin_a_run(server_image)
    assert of_folder(engine, folder) == []
    assert left() == []


@pytest.fixture(scope="module")
def lasts_s(server_image: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, float]:
    """How long pytest runs that nobody kills, with so many workers."""
    folder = tmp_path_factory.mktemp("unharmed")
    (folder / "test_it.py").write_text(textwrap.dedent(BLOCKING))
    kit = {"PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": server_image, "TMPDIR": str(folder)}
    lasts_s = {}
    for workers in (0, 2):
        began = time.monotonic()
        subprocess.run(pytest_command(workers), cwd=folder, env={**os.environ, **kit}, check=True)
        lasts_s[workers] = time.monotonic() - began
    return lasts_s


def test_containers_of_a_live_run_are_not_swept(
    docker_run: Run, engine: docker.DockerClient, server_image: str
) -> None:
    with docker_run.server() as server:
        (mine,) = containers_of(engine, docker_run)
        assert mine not in sweep()
        begin_a_run(server_image)
        assert containers_of(engine, docker_run) == [mine]
        assert server.ping().ok
        assert docker_run.directory.is_dir()


@pytest.fixture
def stray(engine: docker.DockerClient, server_image: str) -> Iterator[Callable[..., Container]]:
    """Creates containers that no run of ours has."""
    with contextlib.ExitStack() as undo:

        def create(labels: dict[str, str]) -> Container:
            container = engine.containers.create(server_image, labels=labels)
            undo.callback(container_leases.remove, engine, str(container.name))
            return container

        yield create


@pytest.mark.parametrize("owner", ["somebody@elsewhere/1", None, "another view of the files"])
def test_containers_of_another_machine_or_user_are_not_swept(
    stray: Callable[..., Container], folder: Path, owner: str | None
) -> None:
    """Their locks cannot be looked at here."""
    if owner == "another view of the files":
        owner = container_leases._owner().rpartition("/")[0] + "/1"
    container = stray({RUN: str(folder / "gone")} | ({"pytest-mme.owner": owner} if owner else {}))
    assert str(container.name) not in sweep()
    container.reload()


def test_containers_without_a_label_are_not_swept(stray: Callable[..., Container]) -> None:
    container = stray({"pytest-mme": "yes"})
    assert str(container.name) not in sweep()
    container.reload()


@pytest.mark.parametrize(("hours", "is_left"), [(1, False), (23, False), (25, True)])
def test_containers_of_another_machine_or_user_are_swept_after_a_day(hours: int, is_left: bool) -> None:
    created = datetime.now(timezone.utc) - timedelta(hours=hours)
    labels = {RUN: "/gone", "pytest-mme.owner": "somebody@elsewhere/1"}
    container: Any = SimpleNamespace(labels=labels, attrs={"Created": f"{created:%Y-%m-%dT%H:%M:%S}.123456789Z"})
    assert container_leases._is_abandoned(container, lambda _: True) == is_left


def test_removing_the_same_container_at_the_same_time_is_not_an_error(
    stray: Callable[..., Container], engine: docker.DockerClient
) -> None:
    name = str(stray({}).name)
    engine.containers.get(name).start()
    with ThreadPoolExecutor(4) as threads:
        removals = [threads.submit(container_leases.remove, engine, name) for _ in range(4)]
        assert any(removal.result() for removal in removals)
    assert not container_leases.remove(engine, name)


@pytest.fixture
def suite(pytester: pytest.Pytester, environment: Mapping[str, str]) -> Suite:
    """Starts pytest, with so many xdist workers, on two tests that start a server each."""
    pytester.makepyfile(BLOCKING)

    @contextlib.contextmanager
    def start(workers: int) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            pytest_command(workers), cwd=pytester.path, env={**environment}, start_new_session=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    return start


def pytest_command(workers: int) -> list[str]:
    return [sys.executable, "-m", "pytest", f"-n{workers}", "-p", "no:cacheprovider"]


def test_two_workers_leave_no_container(
    suite: Suite, pytester: pytest.Pytester, engine: docker.DockerClient, folder: Path
) -> None:
    with suite(2) as process:
        assert process.wait(STARTED_S) == pytest.ExitCode.OK
    check_that_all_are_gone(engine, pytester.path, folder)


def test_two_workers_leave_no_container_after_sigterm(
    suite: Suite, pytester: pytest.Pytester, engine: docker.DockerClient, folder: Path
) -> None:
    (pytester.path / "block").touch()
    with suite(2) as process:
        wait_for(
            lambda: len(list(pytester.path.glob("*.up"))) == 2 or None,
            what="two containers",
            timeout_s=STARTED_S,
            gone=lambda: None if process.poll() is None else "pytest has ended",
        )
        assert len({one.labels["pytest-mme.worker"] for one in of_folder(engine, folder)}) == 2
        process.terminate()
        assert process.wait(STARTED_S) == pytest.ExitCode.INTERRUPTED
    check_that_all_are_gone(engine, pytester.path, folder)


def check_that_all_are_gone(engine: docker.DockerClient, path: Path, folder: Path) -> None:
    names = [up.read_text() for up in path.glob("*.up")]
    assert len(names) == 2
    there = {one.name for one in engine.containers.list(all=True, ignore_removed=True)}
    assert not there.intersection(names)
    assert of_folder(engine, folder) == []
    assert left() == []
