"""TensorFlow's wheels: fetched from the package index by pip, and their libraries and headers taken out."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_mme.errors import UnavailableError

CC, FRAMEWORK = "libtensorflow_cc.so.2", "libtensorflow_framework.so.2"
_BEFORE_2_12 = "tensorflow/python/_pywrap_tensorflow_internal.so"
"""Up to 2.11 the C API is in there, and the framework library beside it as later (seen in the wheels)."""
_INCLUDE = "tensorflow/include/"

Progress = Callable[[float], None]
"""Is told the share that has been fetched, 0 to 1."""

_PACKAGES = ("tensorflow-cpu", "tensorflow")
_PYTHONS = ("3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8")  # newest first: later releases drop old ones
_GLIBCS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010")
_FETCHED = re.compile(r"Progress (\d+) of (\d+)")
_NONE_SUCH = "No matching distribution found"
_UNREACHABLE = re.compile(r"Retrying|ConnectionError|ProxyError|SSLError|Temporary failure|timed out", re.IGNORECASE)
_SAID_CHARACTERS = 300


def newest(release: str) -> str:
    """The last version of a *release*, ``2.15.*`` or all, an empty string; no release candidate. `UnavailableError`."""
    for requirement, python in _candidates(release):
        with tempfile.TemporaryDirectory(prefix="pytest-mme-wheel-") as folder:
            report = Path(folder) / "report.json"
            asked = ("install", "--dry-run", "--ignore-installed", f"--target={folder}", f"--report={report}")
            said = _pip(asked, requirement, python)
            if said:
                _stop_unless_missing(release, said)
                continue
            (found,) = json.loads(report.read_text())["install"]
            version = str(found["metadata"]["version"])
            if version.replace(".", "").isdecimal() or ".post" in version:
                return version
    raise _not_fetched(release, said)


@contextmanager
def fetched(version: str, progress: Progress = lambda _: None) -> Iterator[Path]:
    """The wheel of a version. Any interpreter's will do: only its shared libraries are used. `UnavailableError`."""
    with tempfile.TemporaryDirectory(prefix="pytest-mme-wheel-") as folder:
        for requirement, python in _candidates(version):
            said = _pip(("download", f"--dest={folder}"), requirement, python, progress)
            if not said:
                (wheel,) = Path(folder).glob("*.whl")
                yield wheel
                return
            _stop_unless_missing(version, said)
        raise _not_fetched(version, said)


def _candidates(release: str) -> Iterator[tuple[str, str]]:
    """What to ask for, and for which Python."""
    for package, python in itertools.product(_PACKAGES, _PYTHONS):
        yield (f"{package}=={release}" if release else package), python


def _stop_unless_missing(release: str, said: str) -> None:
    if _NONE_SUCH not in said or _UNREACHABLE.search(said):
        raise _not_fetched(release, said)


def _not_fetched(release: str, said: str) -> UnavailableError:
    asked = f"TensorFlow {release}" if release else "the latest TensorFlow"
    lines = said.strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    return UnavailableError(
        asked,
        f"pip says: {errors[-1][:_SAID_CHARACTERS]}",
        "see whether there is such a release, and whether pip reaches its index here (pip config list); "
        "what has been fetched once needs no network: pytest-mme tensorflow list",
    )


def _pip(asked: Sequence[str], requirement: str, python: str, progress: Progress = lambda _: None) -> str:
    """Have pip do what is *asked*; why it did not, in its words, or nothing."""
    platforms = [f"--platform={glibc}_{platform.machine()}" for glibc in _GLIBCS]
    command = [
        *(sys.executable, "-m", "pip", *asked, "--no-deps", "--only-binary=:all:", "--retries=1"),
        *("--implementation=cp", f"--python-version={python}", f"--abi=cp{python.replace('.', '')}", *platforms),
        *("--progress-bar=raw", "--disable-pip-version-check", requirement),
    ]
    said = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"},
    ) as pip:
        for line in pip.stdout or ():
            if counted := _FETCHED.match(line):
                progress(int(counted[1]) / max(1, int(counted[2])))
            else:
                said.append(line)
    return "".join(said) or "it said nothing" if pip.returncode else ""


def unpack(wheel: Path, target: Path) -> None:
    """Put the two libraries, called as they are since 2.12, and the headers into *target*; raises `UnavailableError`."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        library = next((name for name in (f"tensorflow/{CC}", _BEFORE_2_12) if name in names), None)
        if library is None or f"tensorflow/{FRAMEWORK}" not in names:
            raise UnavailableError(wheel.name, "it holds no TensorFlow libraries", "choose another version")
        _take(archive, library, target / CC)
        _take(archive, f"tensorflow/{FRAMEWORK}", target / FRAMEWORK)
        for name in names:
            if name.startswith(_INCLUDE) and not name.endswith("/"):
                _take(archive, name, target / "include" / name.removeprefix(_INCLUDE))


def _take(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
