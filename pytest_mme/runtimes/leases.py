"""The run's directory: owned by one process, swept by the next run when its owner died without cleaning up.

A lock shows whether the owner lives: the kernel releases it with the process, so it cannot be wrong as a counter can.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from pytest_mme.errors import NotReadyError
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.serving.memory import cgroups
from pytest_mme.settings import Keep
from pytest_mme.waiting import wait_for

CGROUPS = "cgroups"
"""The file in a run's directory that names every cgroup made for it."""

_EMPTY_S = 10.0
_SHARED = "which this run's tests shared"

log = logging.getLogger("pytest_mme")


def base() -> Path:
    """Where all runs of this user have their directories."""
    return Path(tempfile.gettempdir()) / f"pytest-mme-{container_leases.user_name()}"


class RunDirectory:
    """A directory that lives as long as its owner."""

    def __init__(self, parent: Path | None = None, *, keep: bool = False) -> None:
        self.keep = keep
        """Whether it stays when its owner gives it up, for people to look at."""
        parent = parent or base()
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = parent / uuid.uuid4().hex[:12]
        self._lock = filelock.FileLock(_lock_of(self.path))
        self._lock.acquire()  # before the directory exists: nobody ever sees it without an owner
        self.path.mkdir(mode=0o700)

    def release(self) -> None:
        """Remove or keep the directory, and release its lock."""
        if self.keep:
            container_leases.remove_recorded(self.path, reason=_SHARED)
            removed = _remove_cgroups(self.path)
            self.path.rename(self.path.with_name(f"kept-{self.path.name}"))
        else:
            removed = _remove(self.path, _SHARED)
        self._lock.release()
        if removed:
            _lock_of(self.path).unlink(missing_ok=True)


def own_directory(at_end: Callable[[Callable[[], None]], object], *, keep: Keep = "never") -> RunDirectory:
    """Sweep what dead runs have left, and make the directory of a new one; *at_end* registers its release."""
    sweep()
    owned = RunDirectory(keep=keep == "always")
    at_end(owned.release)
    return owned


def sweep(parent: Path | None = None) -> list[str]:
    """Remove what runs left behind whose owners are dead; return a description of each thing that was removed."""
    swept = []
    for lock_path in sorted((parent or base()).glob("*.lock")):
        directory = lock_path.with_suffix("")
        with _owned_by_nobody(lock_path) as free:
            left = [cgroup for cgroup in _recorded_cgroups(directory) if free and cgroup.exists()]
            if free and _remove(directory, container_leases.LEFT):
                lock_path.unlink(missing_ok=True)
                swept += [*(f"cgroup {cgroup}" for cgroup in left), f"directory {directory}"]
                log.info("swept %s, left by a run that died", directory)
    return swept


def owner_lives(directory: Path) -> bool:
    """Whether the process that owns the run of that directory still lives."""
    lock_path = _lock_of(directory)
    if not lock_path.exists():
        return False
    with _owned_by_nobody(lock_path) as free:
        return not free


@contextlib.contextmanager
def _owned_by_nobody(lock_path: Path) -> Iterator[bool]:
    lock = filelock.FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock_of(directory: Path) -> Path:
    return directory.with_suffix(".lock")


def _remove(directory: Path, reason: str) -> bool:
    """Remove a run's directory; False while one of its cgroups is in use: it stays for the next sweep then."""
    container_leases.remove_recorded(directory, reason=reason)
    if not _remove_cgroups(directory):
        return False
    shutil.rmtree(directory, ignore_errors=True)
    return True


def _remove_cgroups(directory: Path) -> bool:
    """Remove a run's cgroups, once their processes, whose lifeline has closed, have ended; False where some remain."""
    return all(list(map(_removed_in_time, _recorded_cgroups(directory))))


def _recorded_cgroups(directory: Path) -> list[Path]:
    record = directory / CGROUPS
    return [Path(line) for line in record.read_text().splitlines()] if record.exists() else []


def _removed_in_time(cgroup: Path) -> bool:
    try:
        return wait_for(lambda: cgroups.remove(cgroup) or None, what=f"the end of {cgroup}", timeout_s=_EMPTY_S)
    except NotReadyError:
        log.warning("the cgroup %s could not be removed: something is still in it", cgroup)
        return False
