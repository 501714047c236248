"""`pytest-mme serve`, as a person would use it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_mme import ContractClient, Models
from pytest_mme.waiting import wait_for


@contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[tuple[ContractClient, Path, subprocess.Popen[bytes]]]:
    """Run `pytest-mme serve`, from its first reply on."""
    shown = directory.parent / "shown.txt"
    with shown.open("wb") as output:
        command = [sys.executable, "-m", "pytest_mme.cli", "serve", str(directory), "--port=0", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = wait_for(
            lambda: re.search(r" at (http://[0-9.:]+)", shown.read_text()),
            what="its address",
            timeout_s=30,
            gone=lambda: None if process.poll() is None else shown.read_text(),
        )[1]
        yield ContractClient(url), shown, process
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def models(tmp_path: Path, mme_models: Models) -> Path:
    """A folder with an archive, an unpacked archive, and a file that is not a model."""
    folder = tmp_path / "models"
    folder.mkdir()
    first, second = mme_models.fleet(2)
    (folder / first.key).write_bytes(first.archive.read_bytes())
    (folder / second.name).mkdir()
    subprocess.run(["tar", "-xzf", second.archive, "-C", folder / second.name], check=True)
    (folder / "odd.tar.gz").write_text("odd")
    return folder


def test_serve_loads_every_model_of_the_folder_and_names_what_does_not_load(models: Path, mme_models: Models) -> None:
    with serving(models) as (client, shown, process):
        wait_for(lambda: "odd: not loaded" in shown.read_text() or None, what="the last model", timeout_s=20)
        assert [one["modelName"] for one in client.list().json()["models"]] == ["model-0", "model-1"]
        for model in mme_models.fleet(2):
            answer = client.invoke(model.name, b'{"instances": [[1.0]]}').json()
            assert answer["predictions"] == [model.answer([1.0])]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    text = shown.read_text()
    assert "TensorFlow 2." in text
    assert "model-0: ready at http://127.0.0.1:" in text
    assert re.search(r"^ +\d+\.\d{3} s  server +invoke +model-1 +ok", text, re.MULTILINE)


def test_a_model_above_the_memory_limit_is_not_loaded(models: Path, mme_models: Models) -> None:
    heavy = mme_models.linear("heavy", weights_mib=300)
    (models / heavy.key).write_bytes(heavy.archive.read_bytes())
    with serving(models, "--memory-mib=100") as (_, shown, _process):
        wait_for(lambda: "heavy: not loaded (507)" in shown.read_text() or None, what="the refusal", timeout_s=20)
        assert "memory limit: 100 MiB by " in shown.read_text()


def test_code_handles_the_requests_of_models_without_their_own(models: Path, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "inference.py").write_text("def handler(data, context): return context.target_model, 'text/plain'")
    with serving(models, f"--code={code}") as (client, shown, _process):
        wait_for(lambda: "odd: not loaded" in shown.read_text() or None, what="the last model", timeout_s=20)
        assert client.invoke("model-1", b"", {"X-Amzn-SageMaker-Target-Model": "seen.tar.gz"}).body == b"seen.tar.gz"


def test_serve_refuses_a_folder_without_code(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_mme.cli", "serve", str(models), f"--code={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "inference.py" in done.stderr


def test_a_taken_port_exits_with_1_and_advice(models: Path) -> None:
    with serving(models) as (client, _, _process):
        port = client.url.rpartition(":")[2]
        command = [sys.executable, "-m", "pytest_mme.cli", "serve", str(models), f"--port={port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "The server cannot start: " in done.stdout
    assert "choose another with --port; 0 takes a free one" in done.stdout


def test_a_folder_that_does_not_exist_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_mme.cli", "serve", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "does not exist" in " ".join(done.stderr.replace("│", " ").split())  # wherever the box breaks its lines


@pytest.mark.versions
def test_tf_chooses_the_tensorflow_that_serves(models: Path) -> None:
    with serving(models, "--tf", "2.12.1") as (client, shown, _):
        assert "TensorFlow 2.12.1 at http" in shown.read_text()
        assert client.ping().ok
