"""How the multi-model-server image is started and ended; a stand-in takes the place of the toolkit."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_mme.images.mms import entrypoint

TOOLKIT = """
import signal

def start_model_server(handler_service):
    print(handler_service, flush=True)
    signal.pause()
"""


@pytest.fixture
def toolkit(tmp_path: Path) -> Path:
    package = tmp_path / "sagemaker_inference"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model_server.py").write_text(TOOLKIT)
    return tmp_path


@pytest.fixture
def served(toolkit: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, entrypoint.__file__, "serve"]
    with subprocess.Popen(command, env={"PYTHONPATH": str(toolkit)}, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_serve_starts_the_toolkit_and_ends_on_sigterm(served: subprocess.Popen[str]) -> None:
    assert served.stdout is not None
    assert served.stdout.readline() == "handler:handle\n"
    served.send_signal(signal.SIGTERM)
    assert served.wait(timeout=10) == 0


def test_another_command_is_run_instead_of_the_server() -> None:
    command = [sys.executable, entrypoint.__file__, "sh", "-c", "echo $1; exit 3", "sh", "a word"]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (ran.stdout, ran.returncode) == ("a word\n", 3)
