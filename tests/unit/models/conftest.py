"""Fixtures that run each model in a process of its own, so that its memory and CPU time can be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.archives.archive import extract
from pytest_mme.archives.store import Store
from pytest_mme.models.builder import Model, Models

ROOT = Path(__file__).parents[3]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"}
InProcess = Callable[..., str]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def models(store: Store) -> Iterator[Models]:
    """A builder that keeps its archives in the test's own store."""
    with Models(store) as models:
        yield models


@pytest.fixture(scope="session")
def in_process() -> InProcess:
    """Run Python with these arguments in a process of its own; return its output, and fail if it fails."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> str:
        ended = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **QUIET, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    return run


@pytest.fixture
def run_model(in_process: InProcess, tmp_path: Path) -> Run:
    """Unpack a model, load one version in a process of its own and call it, by `runner.py`."""

    def run(
        model: Model, *, version: int = 1, environment: dict[str, str] | None = None, **order: Any
    ) -> dict[str, Any]:
        folder = tmp_path / "unpacked" / model.name
        if not folder.exists():
            extract(model.archive, folder)
        order["directory"] = str(folder / str(version))
        printed = in_process("-m", "tests.unit.models.runner", stdin=json.dumps(order), **environment or {})
        seen: dict[str, Any] = json.loads(printed)
        return seen

    return run


def ask(*x: Any, signature: str = "serving_default") -> dict[str, Any]:
    """Return the order of one call with the instances *x*."""
    return {"x": list(x), "signature": signature}
