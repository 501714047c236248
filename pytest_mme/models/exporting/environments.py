"""Other versions of TensorFlow's Python package, each in an environment of its own, to save models with.

Measured: 2.8.0 is the oldest, the first with wheels for Python 3.10, which this package needs. With an index nearby an
environment takes 15 to 25 s, with either of pip and uv, of which 5 to 10 s are the first import; 8 s when uv has the
wheels in its own cache; and 1.2 to 1.7 GB.
"""

from __future__ import annotations

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

from pytest_mme.errors import UnavailableError
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.models.exporting.process import quiet_environment

OLDEST = (2, 8)
Progress = Callable[[str], None]
"""Called with the description of each step as it begins."""

log = logging.getLogger("pytest_mme")
_FINISHED = "finished.json"
OLDEST_PYTHON = 10  # minor version of Python 3; what this package needs
# The newest Python with a wheel, by the first release that has one for a newer Python (seen in the package index).
NEWEST_PYTHON = {(2, 12): 10, (2, 16): 11, (2, 20): 12, (2, 22): 13}
_LATEST_PYTHON = 14  # for later releases, which may or may not have a wheel for it
_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "__PYVENV_LAUNCHER__")
_PACKAGES = ("tensorflow-cpu", "tensorflow")
# What old releases cannot be imported beside, without pinning it: 2.8.0 a newer protobuf, 2.8 to 2.11 numpy 2 (measured).
_BEFORE = {(2, 12): "protobuf<3.20", (2, 16): "numpy<2"}
_MISSING = re.compile("No matching distribution found|No solution found")
_ERROR_LINE = re.compile(r"\s*(ERROR|error|cause|WARNING: Retrying)\b.*")
_MESSAGE_CHARACTERS = 600
# It imports as much as saving does, so that Python compiles it now.
_TRY = "import json, keras, tensorflow as tf; tf.keras.layers; print(json.dumps({'keras': keras.__version__}))"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporter:
    """A TensorFlow whose Python package can save models."""

    tensorflow: str
    keras: str
    """The version of its Keras; empty if it has none."""
    python: Path | None
    """Its environment's interpreter; None for the environment of this process."""


class Exporters:
    """The environments in a cache folder. Each is made when it is first needed, and stays until a user removes it."""

    def __init__(self, cache: Path, version_cache: VersionCache | None = None, progress: Progress = log.info) -> None:
        """Keep environments in ``<cache>/exporters/<version>-py<Python>/``."""
        self._folder, self._progress = cache.absolute() / "exporters", progress
        self.version_cache = version_cache or VersionCache(cache / "tensorflow")
        self._known: dict[str, Exporter] = {}

    def identity(self, asked: str) -> str:
        """Name the packages that would save a model, without making their environment, in which Keras never changes."""
        version = self.version_cache.resolve(asked)
        keras = f"-keras{_installed_keras()}" if version in self.version_cache.installed() else ""
        return f"tensorflow{version}{keras}"

    def exporter(self, asked: str) -> Exporter:
        """Return the exporter of a version; its environment is made if there is none, which takes a minute.

        Raises ValueError for a name that is not a version, and `UnavailableError` when there is no Python that the
        version runs on, or when it cannot be fetched or imported.
        """
        version = self.version_cache.resolve(asked)  # the same one as for servers
        if version in self.version_cache.installed():
            return Exporter(tensorflow=version, keras=_installed_keras(), python=None)
        if version not in self._known:
            self._known[version] = self._finished(version) or self._made(version)
        return self._known[version]

    def _finished(self, version: str) -> Exporter | None:
        for marker in sorted(self._folder.glob(f"{version}-py*/{_FINISHED}")):
            python = _python_in(marker.parent)
            if python.exists():  # the Python that it was made with may be gone
                return Exporter(tensorflow=version, keras=json.loads(marker.read_text())["keras"], python=python)
        return None

    def _made(self, version: str) -> Exporter:
        self._folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._folder / f"{version}.lock"):
            found = self._finished(version)  # another process may have made it meanwhile
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
        """Make the environment of *version* in *folder*; return the version of its Keras."""
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        self._progress(f"making an environment to save models with TensorFlow {version}: once, 1 to 2 GB")
        uv = shutil.which("uv")
        create = [uv, "venv", "--python", python] if uv else [python, "-m", "venv", "--without-pip"]
        if error := _error_of([*create, str(folder)]):
            raise _not_made(version, error)
        self._install(folder, version, uv)
        self._progress(f"importing TensorFlow {version} for the first time")
        keras = _import(folder, version)
        draft = folder / f"{_FINISHED}.draft"
        draft.write_text(json.dumps({"tensorflow": version, "keras": keras}))
        draft.rename(folder / _FINISHED)
        return keras

    def _install(self, folder: Path, version: str, uv: str | None) -> None:
        ours = [sys.executable, "-m", "pip", "--python", str(_python_in(folder)), "install", "--no-compile"]
        pip = [*ours, "--retries=1", "--disable-pip-version-check", "--quiet"]
        command = [uv, "pip", "install", "--python", str(_python_in(folder))] if uv else pip
        release = Version(version).release[:2]
        pins = [requirement for before, requirement in _BEFORE.items() if release < before]
        for package in _PACKAGES:
            requirements = [f"{package}=={version}", *pins]
            self._progress(f"installing {' '.join(requirements)} with {'uv' if uv else 'pip'}")
            error = _error_of([*command, "--only-binary=:all:", *requirements])
            if not error:
                return
            if not _MISSING.search(error):
                break
        raise _not_made(version, error)


def _interpreter(version: str) -> tuple[int, str]:
    """Return the minor version of the Python 3 to use, and its path, or its version for uv to find or fetch."""
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
        "and there is no other on the PATH or in pyenv",
        f"install python3.{newest}, or uv, which can fetch it",
    )


def _pythons(minor: int) -> Iterator[str]:
    """Yield the interpreters of Python 3.*minor* that start."""
    if minor == sys.version_info.minor:
        yield sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob(f"versions/3.{minor}.*/bin"))]
    for folder in folders:
        python = folder / f"python3.{minor}"
        # One of pyenv's shims may have no interpreter behind it.
        if python.is_file() and not _error_of([str(python), "-c", "import venv"]):
            yield str(python)


def _import(folder: Path, version: str) -> str:
    """Import TensorFlow in the environment; return the version of its Keras."""
    command = [str(_python_in(folder)), "-c", _TRY]
    done = subprocess.run(command, env=_clean(quiet_environment(folder)), capture_output=True, text=True, check=False)
    if done.returncode:
        seen = " / ".join(done.stderr.strip().splitlines()[-3:])[-_MESSAGE_CHARACTERS:]
        advice = "see what it lacks on this machine, or choose another version"
        raise UnavailableError(_asked(version), f"it was installed, but cannot be imported: {seen}", advice)
    return str(json.loads(done.stdout.splitlines()[-1])["keras"])


def _error_of(command: Sequence[str]) -> str:
    """Run *command*; return its output if it failed, and "" if it did not."""
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
    return (done.stdout.strip() or f"exit code {done.returncode}, without output") if done.returncode else ""


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Drop the variables that are meant for this Python, or would leave another one uncompiled."""
    return {name: value for name, value in environment.items() if name not in _OURS}


def _not_made(version: str, output: str) -> UnavailableError:
    lines = output.splitlines()
    errors = [line.strip() for line in lines if _ERROR_LINE.match(line)] or lines[-1:]
    return UnavailableError(
        _asked(version),
        " / ".join(errors)[:_MESSAGE_CHARACTERS],
        "see whether there is such a release for a Python that is here, and whether pip, or uv where it is on the PATH, "
        "reaches its package index; an environment that has been made once needs no network",
    )


def _asked(version: str) -> str:
    return f"the Python package of TensorFlow {version}, to save models with,"


def _python_in(folder: Path) -> Path:
    return folder / "bin" / "python"


def _installed_keras() -> str:
    try:
        return importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        return ""
