"""The TensorFlow versions of this user: each is fetched once, kept in the cache, and shared by workers and runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
from packaging.version import Version

from pytest_mme import versions
from pytest_mme.errors import UnavailableError
from pytest_mme.libtensorflow import wheels
from pytest_mme.libtensorflow.capi import installed_directory

if TYPE_CHECKING:
    from pytest_mme.settings import Settings

IN_USE_S = 3600.0
"""A version that was requested within this time is not removed to make room."""
_USED = "used"
_DRAFT = ".draft-"
_ABANDONED_S = 24 * 3600.0
_PRINT_VERSION = (
    "import sys; from pathlib import Path; from pytest_mme.libtensorflow.capi import Library; "
    "print(Library(Path(sys.argv[1])).version)"
)

Progress = Callable[[str, float], None]
"""Called with the version that is fetched, and the share of it that has arrived, 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A version in the cache."""

    version: str
    directory: Path
    """Holds `libtensorflow_cc.so.2`, `libtensorflow_framework.so.2` and `include/`."""
    size_bytes: int
    used: float
    """When it was last requested, in seconds since 1970."""


class VersionCache:
    """A folder of TensorFlow versions. The least recently used go once they take more than *cap_mib* together."""

    def __init__(self, directory: Path, *, cap_mib: int = 16_384) -> None:
        self._folder, self._cap_mib = directory, cap_mib
        self._resolved: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Settings) -> VersionCache:
        """The cache where the settings have it, as large as they let it grow."""
        return cls(settings.cache.value / "tensorflow", cap_mib=settings.tf_cache_mib.value)

    def resolve(self, asked: str | None) -> str:
        """Return the exact version: for ``2.15`` the last of its releases in the cache, or else in the package index.

        ``latest`` is looked up in the package index, once. None is the installed one, and where none is installed
        `versions.DEFAULT`. Raises ValueError for a name that is not a version, and `UnavailableError`.
        """
        if asked is None:
            return versions.default()
        if asked in self._resolved:
            return self._resolved[asked]
        if versions.is_exact(versions.check(asked)):
            version = asked
        elif asked == versions.INSTALLED:
            version = versions.installed()
        elif asked == versions.LATEST:
            version = wheels.newest("")
        else:
            here = [version for version in (*self.installed(), *self._names()) if version.startswith(f"{asked}.")]
            version = max(here, key=Version) if here else wheels.newest(f"{asked}.*")
        self._resolved[asked] = version
        return version

    def directory(self, asked: str | None = None, progress: Progress = lambda *_: None) -> Path:
        """Return the folder of a version's libraries and headers, fetched if need be; raises as `resolve` does."""
        version = self.resolve(asked)
        if version in self.installed():
            return installed_directory()
        directory = self._folder / version
        while True:  # another process may remove it in between
            if not directory.is_dir():
                self._fetch(version, progress)
            with contextlib.suppress(FileNotFoundError):
                (directory / _USED).touch()
                return directory

    @staticmethod
    def installed() -> list[str]:
        """Return the installed version; an empty list when none is installed."""
        with contextlib.suppress(UnavailableError):
            return [versions.installed()]
        return []

    def _fetch(self, version: str, progress: Progress) -> None:
        with self._changing():
            if version in self._names():  # another process has fetched it meanwhile
                return
            with (
                wheels.fetched(version, lambda share: progress(version, share)) as wheel,
                tempfile.TemporaryDirectory(prefix=_DRAFT, dir=self._folder) as drafts,
            ):
                draft = Path(drafts, version)
                draft.mkdir()
                draft.chmod(0o755)
                wheels.unpack(wheel, draft)
                _check(draft, version)
                (draft / _USED).touch()
                draft.rename(self._folder / version)
            self._prune()

    def _changing(self) -> filelock.BaseFileLock:
        """Return the lock that a process holds while it adds or removes versions; reading needs none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._folder / "fetching.lock")

    def _names(self) -> list[str]:
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return [path.name for path in found if (path / _USED).is_file() and not path.name.startswith(".")]

    def kept(self) -> list[Kept]:
        """Return the versions in the cache, the oldest version first."""
        found = []
        for name in sorted(self._names(), key=Version):
            with contextlib.suppress(FileNotFoundError):  # another process removes it
                directory = self._folder / name
                used = (directory / _USED).stat().st_mtime
                size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
                found.append(Kept(version=name, directory=directory, size_bytes=size, used=used))
        return found

    def remove(self, version: str) -> None:
        """Remove a version; raises `UnavailableError` when it is not in the cache."""
        with self._changing():
            if version not in self._names():
                here = ", ".join(self._names()) or "nothing"
                raise UnavailableError(f"TensorFlow {version} in the cache", f"there is {here}", "name one of them")
            self._drop(version)

    def _drop(self, version: str) -> None:
        going = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._folder))
        (self._folder / version).rename(going / version)
        shutil.rmtree(going, ignore_errors=True)

    def prune(self) -> None:
        """Remove the least recently used until the rest fits the cap; leave those used within `IN_USE_S`."""
        with self._changing():
            self._prune()

    def _prune(self) -> None:
        room, now = self._cap_mib << 20, time.time()
        for kept in sorted(self.kept(), key=lambda kept: kept.used, reverse=True):
            room -= kept.size_bytes
            if room < 0 and now - kept.used > IN_USE_S:
                self._drop(kept.version)
        for draft in self._folder.glob(f"{_DRAFT}*"):
            if now - draft.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(draft, ignore_errors=True)


def _check(directory: Path, version: str) -> None:
    """Open the libraries in a process of their own; raises `UnavailableError` when they cannot run or have another version."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_VERSION, str(directory)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        check=False,
    )
    if done.returncode:
        seen = done.stderr.strip().splitlines()[-3:]
        raise UnavailableError(
            f"TensorFlow {version}",
            f"its libraries cannot be opened here: {' / '.join(seen)}",
            "up to 2.11 they need Python 3.12 or older; choose another version, or run the tests with another Python",
        )
    found = done.stdout.strip()
    if Version(found).base_version != Version(version).base_version:
        raise UnavailableError(
            f"TensorFlow {version}", f"the wheel's libraries call themselves {found}", "see where pip has it from"
        )
