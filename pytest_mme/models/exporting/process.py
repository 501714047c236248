"""TensorFlow's Python package, kept out of the test process: one building process for all workers of a run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import filelock

from pytest_mme.errors import AnswersError, ArchiveError, BuildError, NotReadyError
from pytest_mme.models.exporting.build import REFUSED, answers_request, freeze_request, request, socket_in
from pytest_mme.models.spec import ModelSpec
from pytest_mme.waiting import wait_for

START_S = 60.0
BUILD_S = 600.0  # the import of TensorFlow takes 2 to 20 s, a model 0.1 s, one with much weight seconds
_LOG_BYTES = 4000


class TensorFlowProcess:
    """The process of a run that builds: the first use starts it, other processes share it, and it ends with its starter.

    Its socket, lock and log lie in a folder that all of them know. If it has died, the next use starts another.
    """

    def __init__(self, directory: Path, python: Path | None = None) -> None:
        """Start nothing yet. *directory* must be writable for this user only: whoever can write to it can request models.

        *python* is the interpreter of another environment that has a TensorFlow, but not this package.
        """
        self.directory = directory
        self.python = python
        self._started: subprocess.Popen[bytes] | None = None

    @cached_property
    def lock(self) -> filelock.BaseFileLock:
        """A lock that a process holds while it builds; the holder may acquire it again."""
        return filelock.FileLock(self.directory / "build.lock")

    def build(self, specs: Sequence[ModelSpec], target: Path, *, timeout_s: float = BUILD_S) -> None:
        """Build all of *specs* at once, each into ``<target>/<its index>/<version>/``; raises `BuildError`."""
        names = tuple(spec.name for spec in specs)
        error = self._request(request(list(specs), target), names, timeout_s)
        if error:
            raise BuildError(names, error.strip().splitlines()[-1], error)

    def freeze(
        self, source: Path, target: Path, *, name: str, inputs: Mapping[str, Any] | None, tolerance: float
    ) -> None:
        """Freeze and rewrite the SavedModel *source* of the model *name* into *target*: `freeze.freeze`.

        Raises `ArchiveError` when it cannot be frozen, `BuildError` when something else went wrong.
        """
        error = self._request(freeze_request(source, target, inputs, tolerance), (name,), BUILD_S)
        if error.startswith(REFUSED):
            seen = error.removeprefix(REFUSED)
            raise ArchiveError(f"{name} cannot be optimised", seen, "serve it as it is, or see docs/optimised.md")
        if error:
            raise BuildError((name,), error.strip().splitlines()[-1], error)

    def answers(self, source: Path, inputs: Sequence[Any], target: Path, *, name: str) -> list[list[Any]]:
        """Ask the SavedModel *source* of the model *name*, by `tf.saved_model.load`, twice for each of *inputs*.

        Returns both rounds of predictions, in TensorFlow Serving's JSON; *target* is a file for them. Raises
        `AnswersError` when the model has no such signature or refuses an input, `BuildError` when something else went
        wrong.
        """
        error = self._request(answers_request(source, inputs, target), (name,), BUILD_S)
        if error.startswith(REFUSED):
            raise AnswersError(name, error.removeprefix(REFUSED), "give inputs=[…] that the model takes")
        if error:
            raise BuildError((name,), error.strip().splitlines()[-1], error)
        rounds: list[list[Any]] = json.loads(target.read_text())
        return rounds

    def _request(self, message: bytes, names: tuple[str, ...], timeout_s: float) -> str:
        seen = ""
        with self.lock:
            for connect in (self._connect, self._start):  # a running one may end with its starter: then start another
                try:
                    with connect() as connection:
                        connection.send_bytes(message)
                        if connection.poll(timeout_s):
                            return connection.recv_bytes().decode()
                    self.close()
                    raise BuildError(names, f"no reply within {timeout_s:g} s", self._log())
                except (EOFError, ConnectionError, FileNotFoundError) as error:
                    seen = f"the building process ended meanwhile ({type(error).__name__})"
                except NotReadyError as error:
                    seen = f"the building process did not start: {error.because}"
                    raise BuildError(names, seen, self._log()) from error
        raise BuildError(names, seen, self._log())

    def _connect(self) -> Connection:
        with socket_in(self.directory) as address:
            return Client(address, "AF_UNIX")

    def _start(self) -> Connection:
        self.close()
        (self.directory / "build.sock").unlink(missing_ok=True)
        with (self.directory / "build.log").open("wb") as log:
            self._started = subprocess.Popen(
                [self.python or sys.executable, "-m", "pytest_mme.models.exporting.build", self.directory],
                cwd=self.directory,  # Python looks for modules there first: not in a folder that may hold a keras.py
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; this process ends with its lifeline
            )
        return wait_for(self._connect, what="the building process", timeout_s=START_S, gone=self._ended)

    def _environment(self) -> dict[str, str]:
        environment = quiet_environment(self.directory)
        if self.python is not None:
            # A folder with this package only: what is installed beside it is for another Python.
            folder = self.directory / "package"
            folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileExistsError):
                (folder / "pytest_mme").symlink_to(Path(__file__).parents[2], target_is_directory=True)
            environment["PYTHONPATH"] = str(folder)
        return environment

    def _ended(self) -> str | None:
        code = self._started.poll() if self._started else None
        return None if code is None else f"it ended with exit code {code}"

    def _log(self) -> str:
        log = self.directory / "build.log"
        return log.read_bytes()[-_LOG_BYTES:].decode(errors="replace") if log.exists() else ""

    def close(self) -> None:
        """End the process if it was started here. Closing twice is fine, and so is building again afterwards."""
        started, self._started = self._started, None
        if started is None:
            return
        started.kill()
        started.communicate()


def quiet_environment(directory: Path) -> dict[str, str]:
    """Return the environment variables of a process that imports TensorFlow; its own files go to *directory*."""
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",  # nothing is computed, and a GPU would be taken whole
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(directory),  # Keras writes its settings when it is imported
        "PYTHONWARNINGS": "ignore",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TMPDIR": str(directory),  # autograph leaves the sources that it generates
    }
