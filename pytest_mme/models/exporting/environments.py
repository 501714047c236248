"""Other versions of TensorFlow's Python package, each in an environment of its own, to save models with.

Measured: 2.8.0 is the oldest, the first with wheels for Python 3.10, which this package needs. With an index nearby an
environment takes 15 to 25 s, with either of pip and uv, of which 5 to 10 s are the first import; 8 s when uv has the
wheels in its own cache; and 1.2 to 1.7 GB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import filelock
from packaging.version import Version

from pytest_mme import versions
from pytest_mme.errors import UnavailableError
from pytest_mme.libtensorflow.toolchain import Toolchain
from pytest_mme.models.exporting.process import quiet_environment

OLDEST = (2, 8)
Progress = Callable[[str], None]
"""Is told what is being done, as it begins."""

_LOG = logging.getLogger("pytest_mme")
_FINISHED = "finished.json"
OLDEST_PYTHON = 10  # what this package needs: of Python 3
# The last with a wheel, by the first release that this is not true of (seen in the package index).
NEWEST_PYTHON = {(2, 12): 10, (2, 16): 11, (2, 20): 12, (2, 22): 13}
_LATEST_PYTHON = 14  # for later releases: whether they have a wheel for it, the index will tell
_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "__PYVENV_LAUNCHER__")
_PACKAGES = ("tensorflow-cpu", "tensorflow")
# What old releases cannot be imported with, and do not say: 2.8.0 a newer protobuf, 2.8 to 2.11 numpy 2 (measured).
_BEFORE = {(2, 12): "protobuf<3.20", (2, 16): "numpy<2"}
_MISSING = re.compile("No matching distribution found|No solution found")
_TOLD = re.compile(r"\s*(ERROR|error|cause|WARNING: Retrying)\b.*")
_SAID_CHARACTERS = 600
# It imports as much as saving does, so that Python compiles it now.
_TRY = "import json, keras, tensorflow as tf; tf.keras.layers; print(json.dumps({'keras': keras.__version__}))"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporter:
    """A TensorFlow whose Python package can save models."""

    tensorflow: str
    keras: str
    """Empty if it has none."""
    python: Path | None
    """Its environment's interpreter; None for the environment of this process."""


class Exporters:
    """The environments of a cache folder. They are made at need, one by one, and stay until somebody removes them."""

    def __init__(self, cache: Path, progress: Progress = _LOG.info) -> None:
        """They lie in ``<cache>/exporters/<version>-py<Python>/``."""
        self._folder, self._progress = cache.absolute() / "exporters", progress
        self.toolchain = Toolchain(cache / "tensorflow")
        self._known: dict[str, Exporter] = {}

    def resolve(self, asked: str) -> str:
        """The exact version that is meant, as `Toolchain.resolve` has it: what servers mean by it, exporters mean, too."""
        return self.toolchain.resolve(asked)

    def identity(self, asked: str) -> str:
        """Names what would save a model, without making its environment. The Keras of an environment stays what it is."""
        version = self.resolve(asked)
        return f"tensorflow{version}" + (f"-keras{_installed_keras()}" if _is_installed(version) else "")

    def exporter(self, asked: str) -> Exporter:
        """The exporter of a version; its environment is made if there is none, which takes a minute.

        Raises ValueError for what is no version, and `UnavailableError` when no Python is here that the version runs
        on, or when it cannot be fetched or imported.
        """
        version = self.resolve(asked)
        if version not in self._known:
            self._known[version] = self._exporter(version)
        return self._known[version]

    def _exporter(self, version: str) -> Exporter:
        if _is_installed(version):
            return Exporter(tensorflow=version, keras=_installed_keras(), python=None)
        return self._finished(version) or self._made(version)

    def _finished(self, version: str) -> Exporter | None:
        for marker in sorted(self._folder.glob(f"{version}-py*/{_FINISHED}")):
            python = _python_in(marker.parent)
            if python.exists():  # the Python that it was made with may be gone
                return Exporter(tensorflow=version, keras=json.loads(marker.read_text())["keras"], python=python)
        return None

    def _made(self, version: str) -> Exporter:
        self._folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._folder / f"{version}.lock"):
            found = self._finished(version)  # somebody else has made it meanwhile
            if found:
                return found
            minor, python = _interpreter(version)
            folder = self._folder / f"{version}-py3.{minor}"
            try:
                keras = self._make(folder, version, python)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return Exporter(tensorflow=version, keras=keras, python=_python_in(folder))

    def _make(self, folder: Path, version: str, python: str) -> str:
        """Make its environment in *folder*; the version of Keras in there."""
        shutil.rmtree(folder, ignore_errors=True)  # of somebody who was killed over it
        self._progress(f"making an environment to save models with TensorFlow {version}: once, 1 to 2 GB")
        uv = shutil.which("uv")
        create = [uv, "venv", "--python", python] if uv else [python, "-m", "venv", "--without-pip"]
        if said := _said([*create, str(folder)]):
            raise _not_made(version, said)
        self._install(folder, version, uv)
        self._progress(f"importing TensorFlow {version} for the first time")
        keras = _tried(folder, version)
        draft = folder / f"{_FINISHED}.draft"
        draft.write_text(json.dumps({"tensorflow": version, "keras": keras}))
        draft.rename(folder / _FINISHED)
        return keras

    def _install(self, folder: Path, version: str, uv: str | None) -> None:
        ours = [sys.executable, "-m", "pip", "--python", str(_python_in(folder)), "install", "--no-compile"]
        pip = [*ours, "--retries=1", "--disable-pip-version-check", "--quiet"]
        command = [uv, "pip", "install", "--python", str(_python_in(folder))] if uv else pip
        for package in _PACKAGES:
            requirements = [f"{package}=={version}", *_beside(version)]
            self._progress(f"installing {' '.join(requirements)} with {'uv' if uv else 'pip'}")
            said = _said([*command, "--only-binary=:all:", *requirements])
            if not said:
                return
            if not _MISSING.search(said):
                break
        raise _not_made(version, said)


def _beside(version: str) -> list[str]:
    """What else to ask for, so that it can be imported."""
    release = Version(version).release[:2]
    return [requirement for before, requirement in _BEFORE.items() if release < before]


def _interpreter(version: str) -> tuple[int, str]:
    """The minor number of the Python 3 to use, and its path; only that number where uv is to find or fetch it."""
    release = Version(version).release[:2]
    newest = next((minor for before, minor in NEWEST_PYTHON.items() if release < before), _LATEST_PYTHON)
    if release < OLDEST:
        seen = f"it needs Python 3.9 or older, and pytest-mme 3.{OLDEST_PYTHON} or later"
        raise UnavailableError(_asked(version), seen, f"choose {OLDEST[0]}.{OLDEST[1]} or later")
    minors = sorted(range(OLDEST_PYTHON, newest + 1), key=lambda minor: (minor == sys.version_info.minor, minor))
    for minor in reversed(minors):
        for python in _pythons(minor):
            return minor, python
    if shutil.which("uv"):
        return newest, f"3.{newest}"
    raise UnavailableError(
        _asked(version),
        f"with pytest-mme it needs Python 3.{OLDEST_PYTHON} to 3.{newest}; this is 3.{sys.version_info.minor}, "
        "and there is no other on the PATH or among pyenv's",
        f"install python3.{newest}, or uv, which can fetch it",
    )


def _pythons(minor: int) -> Iterator[str]:
    """The interpreters of Python 3.*minor* that start."""
    if minor == sys.version_info.minor:
        yield sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob(f"versions/3.{minor}.*/bin"))]
    for folder in folders:
        python = folder / f"python3.{minor}"
        if python.is_file() and _starts(python):
            yield str(python)


def _starts(python: Path) -> bool:
    """Whether it does: pyenv's stand-ins may have none behind them."""
    return not _said([str(python), "-c", "import venv"])


def _tried(folder: Path, version: str) -> str:
    """Import it; the version of its Keras."""
    command = [str(_python_in(folder)), "-c", _TRY]
    done = subprocess.run(command, env=_clean(quiet_environment(folder)), capture_output=True, text=True, check=False)
    if done.returncode:
        seen = " / ".join(done.stderr.strip().splitlines()[-3:])[-_SAID_CHARACTERS:]
        advice = "see what it lacks on this machine, or choose another version"
        raise UnavailableError(_asked(version), f"it was installed, but cannot be imported: {seen}", advice)
    return str(json.loads(done.stdout.splitlines()[-1])["keras"])


def _said(command: Sequence[str]) -> str:
    """Run it; what it said if it failed."""
    done = subprocess.run(
        command,
        env=_clean(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return (done.stdout.strip() or f"exit code {done.returncode}, and no word") if done.returncode else ""


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what is meant for this Python, or would leave another one uncompiled."""
    return {name: value for name, value in environment.items() if name not in _OURS}


def _not_made(version: str, said: str) -> UnavailableError:
    lines = said.splitlines()
    told = [line.strip() for line in lines if _TOLD.match(line)] or lines[-1:]
    return UnavailableError(
        _asked(version),
        " / ".join(told)[:_SAID_CHARACTERS],
        "see whether there is such a release for a Python that is here, and whether pip, or uv where it is on the PATH, "
        "reaches its package index; an environment that has been made once needs no network",
    )


def _asked(version: str) -> str:
    return f"the Python package of TensorFlow {version}, to save models with,"


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_installed(version: str) -> bool:
    with contextlib.suppress(UnavailableError):
        return version == versions.installed()
    return False


def _installed_keras() -> str:
    try:
        return importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        return ""
