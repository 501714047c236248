"""The building process starts at its first use, is shared, is replaced when it dies, and ends with its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_mme.archives.store import Store
from pytest_mme.errors import BuildError
from pytest_mme.models.builder import Models
from pytest_mme.models.exporting.process import TensorFlowProcess
from pytest_mme.models.spec import ModelSpec
from pytest_mme.waiting import wait_for
from tests.processes import is_alive
from tests.unit.models.conftest import ROOT, Run, ask

Shared = Callable[[], TensorFlowProcess]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder whose path is longer than that of a Unix socket may be."""
    folder = tmp_path.joinpath(*["deep" * 10] * 3)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def shared(directory: Path) -> Iterator[Shared]:
    """Makes clients of one building process; an empty request needs no TensorFlow."""
    made: list[TensorFlowProcess] = []

    def make() -> TensorFlowProcess:
        made.append(TensorFlowProcess(directory))
        return made[-1]

    yield make
    for process in made:
        process.close()


def pid(process: TensorFlowProcess) -> int | None:
    return process._started.pid if process._started else None


def test_no_process_is_started_before_its_first_use(shared: Shared, directory: Path) -> None:
    assert pid(shared()) is None
    assert list(directory.iterdir()) == []


def test_clients_share_one_process(shared: Shared, tmp_path: Path) -> None:
    first, second = shared(), shared()
    for process in (first, second, second):
        process.build([], tmp_path)
    assert pid(first)
    assert pid(second) is None


@pytest.mark.parametrize("by", [0, 1])
def test_a_process_that_died_is_replaced(shared: Shared, tmp_path: Path, by: int) -> None:
    clients = shared(), shared()
    clients[0].build([], tmp_path)
    old = pid(clients[0])
    assert old
    psutil.Process(old).kill()
    clients[by].build([], tmp_path)
    assert pid(clients[by]) not in (None, old)


def test_close_ends_the_process_and_the_next_build_starts_another(shared: Shared, tmp_path: Path) -> None:
    process = shared()
    process.build([], tmp_path)
    old = pid(process)
    process.close()
    process.close()
    assert old is not None
    assert not psutil.pid_exists(old)
    process.build([], tmp_path)
    assert pid(process) not in (None, old)


def test_closing_a_builder_ends_the_process_that_it_started(store: Store, tmp_path: Path) -> None:
    models = Models(store)
    for _ in range(2):  # and can build again
        models._tensorflow.build([], tmp_path)
        directory, started = models._tensorflow.directory, pid(models._tensorflow)
        models.close()
        models.close()
        assert not directory.exists()
        assert started is not None
        assert not psutil.pid_exists(started)


def test_the_process_ends_with_the_process_that_started_it(directory: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pytest_mme.models.exporting.process import TensorFlowProcess\n"
        "process = TensorFlowProcess(Path(sys.argv[1]))\n"
        "process.build([], Path(sys.argv[1]))\n"
        "print(process._started.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, directory], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == -signal.SIGKILL
    started = int(ended.stdout)
    wait_for(lambda: not is_alive(psutil.Process(started)) or None, what="the building process to end", timeout_s=20)


def test_a_process_that_hangs_is_ended_after_the_timeout(shared: Shared, tmp_path: Path) -> None:
    process = shared()
    process.build([], tmp_path)
    hanging = pid(process)
    assert hanging
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(BuildError, match=r"no reply within 0.1 s"):
        process.build([], tmp_path, timeout_s=0.1)
    assert not psutil.pid_exists(hanging)


def test_an_error_in_the_process_is_raised_with_its_traceback(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.py").write_text("raise RuntimeError('no Keras today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = shared()
    with pytest.raises(BuildError, match="no Keras today") as caught:
        process.build([ModelSpec(name="m", kind="keras")], tmp_path)
    assert (caught.value.models, caught.value.seen) == (("m",), "RuntimeError: no Keras today")
    assert 'keras.py", line 1' in str(caught.value)
    process.build([], tmp_path)  # and it lives on


def test_a_process_that_does_not_start_is_an_error_with_its_log(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit('no Python today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(BuildError, match="did not start: it ended with exit code 1") as caught:
        shared().build([], tmp_path)
    assert "no Python today" in str(caught.value)


def test_a_process_that_dies_of_a_request_twice_is_an_error(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.py").write_text("import os; os.write(2, b'last words'); os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(BuildError, match="ended meanwhile") as caught:
        shared().build([ModelSpec(name="m", kind="keras")], tmp_path)
    assert "last words" in str(caught.value)


def test_keras_models_that_processes_build_at_once_are_built_once(
    store: Store, directory: Path, run_model: Run
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from pytest_mme.models.builder import Models\nfrom pytest_mme.archives.store import Store\n"
        "sys.stdin.readline()\n"
        "with Models(Store(Path(sys.argv[1])), Path(sys.argv[2])) as models:\n"
        "    models.fleet(2, kind='keras', weights_mib=48, versions=(1, 2))\n"
        "    print('started' if models._tensorflow._started else 'shared')\n"
    )
    command = [sys.executable, "-c", script, str(store.directory), str(directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    racers = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]  # plain keywords
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    printed = sorted(racer.communicate(timeout=120)[0].strip() for racer in racers)
    assert printed == ["shared", "shared", "started"]

    with Models(store, directory) as models:
        a, b = models.fleet(2, kind="keras", weights_mib=48, versions=(1, 2))
        assert "_tensorflow" not in vars(models)  # all of them were there
    assert a.archive.stat().st_size < 1 << 20
    for model, version in ((a, 1), (b, 2)):
        seen = run_model(
            model, version=version, calls=[ask([1.0]), ask([-2.0], [0.5])], environment={"TF_ENABLE_ONEDNN_OPTS": "0"}
        )
        assert seen["loaded_bytes"] >= 48 << 20
        predictions = [one for call in seen["calls"] for one in call["predictions"]]
        assert predictions == [model.answer([x], version=version) for x in (1.0, -2.0, 0.5)]
