"""TensorFlow in the test process itself.

Nothing in the suite forks this process without an exec, which is all that a loaded TensorFlow forbids, and so a failing
comparison shows its arrays. What needs a process of its own (forks, memory, threads) gets one from `in_process`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from tests.unit.libtensorflow.graphs import Graph

Load = Callable[..., SavedModel]
InProcess = Callable[..., str]
ROOT = Path(__file__).parents[3]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def library() -> Iterator[Library]:
    """The installed TensorFlow, with its log switched off."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield Library()


@pytest.fixture
def load(library: Library, tmp_path: Path) -> Iterator[Load]:
    """Writes a `Graph` (or takes a folder) and loads it; the models are closed after the test."""
    with contextlib.ExitStack() as stack:

        def load(source: Graph | Path, **keywords: Any) -> SavedModel:
            directory = source if isinstance(source, Path) else source.write(tmp_path / "model")
            return stack.enter_context(contextlib.closing(SavedModel(library, directory, **keywords)))

        yield load


@pytest.fixture
def in_process() -> InProcess:
    """Runs a Python script in a process of its own and returns what it printed; fails if the script does."""

    def run(script: str, *arguments: object, **environment: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **QUIET, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    return run
