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
"""Called with the share that has been fetched, 0 to 1."""

_PACKAGES = ("tensorflow-cpu", "tensorflow")
_PYTHONS = ("3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8")  # newest first: later releases drop old ones
_GLIBCS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010")
_FETCHED = re.compile(r"Progress (\d+) of (\d+)")
_NONE_SUCH = "No matching distribution found"
_UNREACHABLE = re.compile(r"Retrying|ConnectionError|ProxyError|SSLError|Temporary failure|timed out", re.IGNORECASE)
_MESSAGE_CHARACTERS = 300


def newest(release: str) -> str:
    """Return the last version of a *release*, ``2.15.*`` or "" for all, that is no release candidate; `UnavailableError`."""
    with tempfile.TemporaryDirectory(prefix="pytest-mme-wheel-") as folder:
        report = Path(folder) / "report.json"
        command = ("install", "--dry-run", "--ignore-installed", f"--target={folder}", f"--report={report}")
        installed = (json.loads(report.read_text())["install"] for _ in _successes(command, release))
        found = (str(package["metadata"]["version"]) for (package,) in installed)
        return next(version for version in found if version.replace(".", "").isdecimal() or ".post" in version)


@contextmanager
def fetched(version: str, progress: Progress = lambda _: None) -> Iterator[Path]:
    """Yield the wheel of a version, of any interpreter: only its shared libraries are used. Raises `UnavailableError`."""
    with tempfile.TemporaryDirectory(prefix="pytest-mme-wheel-") as folder:
        next(_successes(("download", f"--dest={folder}"), version, progress))
        (wheel,) = Path(folder).glob("*.whl")
        yield wheel


def _successes(command: Sequence[str], release: str, progress: Progress = lambda _: None) -> Iterator[None]:
    """Have pip run *command* for each name and Python of a release's wheels; yield whenever it has found one.

    Raises `UnavailableError` at the end, and as soon as pip fails for another reason than that there is no such wheel.
    """
    output = "there are release candidates only"
    for package, python in itertools.product(_PACKAGES, _PYTHONS):
        failed = _pip([*command, f"{package}=={release}" if release else package], python, progress)
        if not failed:
            yield
            continue
        output = failed
        if _NONE_SUCH not in output or _UNREACHABLE.search(output):
            break
    lines = output.strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    raise UnavailableError(
        f"TensorFlow {release}" if release else "the latest TensorFlow",
        f"pip says: {errors[-1][:_MESSAGE_CHARACTERS]}",
        "see whether there is such a release, and whether pip reaches its index here (pip config list); "
        "what has been fetched once needs no network: pytest-mme tensorflow list",
    )


def _pip(command: Sequence[str], python: str, progress: Progress) -> str:
    """Run pip's *command* for the wheels of a Python, whatever this one is; return its output if it failed, else ""."""
    platforms = [f"--platform={glibc}_{platform.machine()}" for glibc in _GLIBCS]
    arguments = [
        *("--no-deps", "--only-binary=:all:", "--retries=1", "--progress-bar=raw", "--disable-pip-version-check"),
        *("--implementation=cp", f"--python-version={python}", f"--abi=cp{python.replace('.', '')}", *platforms),
    ]
    output = []
    with subprocess.Popen(
        [sys.executable, "-m", "pip", *command, *arguments],
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
                output.append(line)
    return "".join(output) or "nothing" if pip.returncode else ""


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
