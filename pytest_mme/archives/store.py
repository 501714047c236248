"""A cache of archives by content, shared by the workers of a run and by later runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import platformdirs

ABANDONED_S = 24 * 3600.0
IN_USE_S = 3600.0  # a run may read an archive this long after it got its path, so pruning keeps it


class Store:
    """A folder of archives, ``<key>.tar.gz``, that several processes and runs use at once.

    When they take more than *cap_mib*, the least recently used are removed, but none that was used within the hour.
    """

    def __init__(self, directory: Path | None = None, *, cap_mib: int = 2048) -> None:
        """Keep archives in *directory*, by default in the user's cache folder."""
        self.directory = directory or platformdirs.user_cache_path("pytest-mme") / "models"
        self.cap_mib = cap_mib
        self._until_prune_bytes = 0
        (self.directory / "locks").mkdir(parents=True, exist_ok=True)

    def archive(self, key: str, produce: Callable[[Path], None]) -> Path:
        """Return the archive of *key*, a digest; when there is none yet, *produce* writes it to the path that it is given."""
        with self._lock(key):
            path = self._path(key)
            if path.exists():
                os.utime(path)
                return path
            with self.drafts() as drafts:
                draft = drafts / path.name
                produce(draft)
                draft.replace(path)
        self._until_prune_bytes -= path.stat().st_size
        if self._until_prune_bytes < 0:  # after the first new archive and then now and again: it reads every one's time
            self._until_prune_bytes = (self.cap_mib << 20) // 16
            self.prune()
        return path

    @contextmanager
    def drafts(self) -> Iterator[Path]:
        """Yield a temporary folder for drafts in the store's file system, removed after the block."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=".draft-") as folder:
            yield Path(folder)

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def prune(self, *, in_use_s: float = IN_USE_S) -> None:
        """Remove the least recently used archives until the rest fits the cap; leave those used within *in_use_s*.

        Drafts that killed processes left behind are removed, too.
        """
        entries = sorted((_facts(path) for path in self.directory.glob("*.tar.gz")), reverse=True)
        room, now = self.cap_mib << 20, time.time()
        for used, size, path in entries:
            room -= size
            if room < 0 and now - used > in_use_s:
                self._remove(path, used)
        for drafts in self.directory.glob(".draft-*"):
            if now - _facts(drafts)[0] > ABANDONED_S:
                shutil.rmtree(drafts, ignore_errors=True)  # another process may be sweeping, too

    def _remove(self, path: Path, used: float) -> None:
        try:
            with self._lock(path.name, timeout=0):
                if _facts(path)[0] == used:  # it was not used since its time was read
                    path.unlink(missing_ok=True)
        except filelock.Timeout:
            return  # another process is using it now

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.tar.gz"

    def _lock(self, key: str, timeout: float = -1) -> filelock.BaseFileLock:
        # Lock files may never be removed (another process may hold the old one), so there are at most 256 of them.
        return filelock.FileLock(self.directory / "locks" / f"{key[:2]}.lock", timeout=timeout)


def _facts(path: Path) -> tuple[float, int, Path]:
    """Return when *path* was last used, its size in bytes, and itself; the time is 0 when it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0.0, 0, path
    return stat.st_mtime, stat.st_size, path


def sha256(path: Path) -> str:
    """Return the digest of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
