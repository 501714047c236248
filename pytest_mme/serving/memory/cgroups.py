"""Memory cgroups, version 1 and 2: a limit that the kernel itself enforces.

Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

_NO_LIMIT_V1 = 2**60


class MemoryCgroup(Protocol):
    """A memory cgroup."""

    directory: Path
    version: int

    def limit(self, limit_bytes: int) -> None:
        """Set the limit, for swap too."""

    def limit_bytes(self) -> int | None:
        """The limit; None when there is none."""

    def used_bytes(self) -> int:
        """The memory that its processes hold and the kernel cannot reclaim: without page cache."""

    def peak_bytes(self) -> int | None:
        """The most that was ever charged to it, page cache included; None where the kernel does not say."""

    def kills(self) -> int:
        """The kernel's own count of processes killed for lack of memory."""


class CgroupV1:
    """A directory in the hierarchy of the memory controller of version 1."""

    version = 1

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def limit(self, limit_bytes: int) -> None:
        """Set `memory.limit_in_bytes` and, where swap is accounted, the same for memory and swap together."""
        limit, with_swap = (self.directory / f"memory.{name}" for name in ("limit_in_bytes", "memsw.limit_in_bytes"))
        order = (
            [limit, with_swap] if limit_bytes < int(limit.read_text()) else [with_swap, limit]
        )  # the first may not exceed the second
        for file in order:
            if file.exists():
                file.write_text(str(limit_bytes))

    def limit_bytes(self) -> int | None:
        """`memory.limit_in_bytes`, which is a number near 2**63 where there is no limit."""
        limit = int((self.directory / "memory.limit_in_bytes").read_text())
        return limit if limit < _NO_LIMIT_V1 else None

    def used_bytes(self) -> int:
        """`memory.usage_in_bytes` less the page cache."""
        stat = _read_table(self.directory / "memory.stat")
        usage = int((self.directory / "memory.usage_in_bytes").read_text())
        return usage - stat["total_inactive_file"] - stat["total_active_file"]

    def peak_bytes(self) -> int | None:
        """`memory.max_usage_in_bytes`."""
        return _read_number(self.directory / "memory.max_usage_in_bytes")

    def kills(self) -> int:
        """`oom_kill` of `memory.oom_control`."""
        return _read_table(self.directory / "memory.oom_control")["oom_kill"]


class CgroupV2:
    """A directory in the unified hierarchy."""

    version = 2

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def limit(self, limit_bytes: int) -> None:
        """Set `memory.max`, and `memory.swap.max` to nothing."""
        (self.directory / "memory.max").write_text(str(limit_bytes))
        swap = self.directory / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")

    def limit_bytes(self) -> int | None:
        """`memory.max`."""
        limit = (self.directory / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit)

    def used_bytes(self) -> int:
        """`memory.current` less the page cache."""
        stat = _read_table(self.directory / "memory.stat")
        usage = int((self.directory / "memory.current").read_text())
        return usage - stat["inactive_file"] - stat["active_file"]

    def peak_bytes(self) -> int | None:
        """`memory.peak`, which kernels have from 5.19 on."""
        return _read_number(self.directory / "memory.peak")

    def kills(self) -> int:
        """`oom_kill` of `memory.events`."""
        return _read_table(self.directory / "memory.events")["oom_kill"]


_LIMIT: dict[type[CgroupV1 | CgroupV2], str] = {CgroupV1: "memory.limit_in_bytes", CgroupV2: "memory.max"}


def _read_table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def _read_number(path: Path) -> int | None:
    """The number in a file; None where this kernel has no such file."""
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return None


def _lets_in(directory: Path) -> bool:
    """Try to move a process in: version 2 needs write access to the common ancestor of both cgroups, too."""
    try_it = ["sh", "-c", 'echo $$ > "$1"', "sh", str(directory / "cgroup.procs")]
    return subprocess.run(try_it, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def at(directory: Path) -> MemoryCgroup:
    """The memory cgroup of that directory."""
    return CgroupV1(directory) if (directory / _LIMIT[CgroupV1]).exists() else CgroupV2(directory)


def own(proc: Path = Path("/proc/self"), *, mounts: Path | None = None) -> MemoryCgroup:
    """The memory cgroup that a process is in; raises OSError when it is not visible from here.

    *mounts*: the `mountinfo` of a process that sees our file system, when *proc* does not.
    """
    for kind, directory in _parents(proc, mounts):
        if (directory / _LIMIT[kind]).exists():
            return kind(directory)
    raise OSError(f"no memory cgroup of {proc} is visible here")


def create(
    name: str,
    *,
    before_creation: Callable[[Path], None] = lambda _: None,
    proc: Path = Path("/proc/self"),
    lets_in: Callable[[Path], bool] = _lets_in,
) -> MemoryCgroup:
    """Make a memory cgroup called *name* as near to this process as the system allows.

    *before_creation* is called with each directory that is tried, before it is made.

    Tried: this process's own cgroup, then its ancestors: with version 2 a process may often create a sibling (its
    user's delegated subtree) but not a child. Raises OSError with all that was tried.
    """
    refused: list[str] = []
    for kind, parent in _parents(proc):
        directory = parent / name
        before_creation(directory)
        try:
            directory.mkdir()
        except OSError as error:
            refused.append(f"{directory}: {error.strerror}")
            continue
        if not (directory / _LIMIT[kind]).exists():
            refused.append(f"{directory}: the memory controller is not enabled there")
        elif kind is CgroupV2 and not lets_in(directory):
            refused.append(f"{directory}: no process may be moved there")
        else:
            return kind(directory)
        directory.rmdir()
    raise OSError("no memory cgroup may be made here; tried " + ("; ".join(refused) or "nothing: none is mounted"))


def _parents(proc: Path, mounts: Path | None = None) -> Iterator[tuple[type[CgroupV1 | CgroupV2], Path]]:
    own: dict[str, str] = {}  # paths by controller; version 2 has no controller's name
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for line in (mounts or proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        if kind == "cgroup" and "memory" in options.split(","):
            yield from ((CgroupV1, path) for path in _upwards(Path(mount_point), root, own.get("memory", "/")))
        elif kind == "cgroup2":
            yield from ((CgroupV2, path) for path in _upwards(Path(mount_point), root, own.get("", "/")))


def _upwards(mount_point: Path, root: str, own: str) -> Iterator[Path]:
    """From the own cgroup up to the mount point; in a container the path may lie outside what is mounted."""
    inside = Path(re.sub(f"^{re.escape(root.rstrip('/'))}/", "/", own.rstrip("/") + "/")).relative_to("/")
    for path in (inside, *inside.parents):
        if (mount_point / path).is_dir():
            yield mount_point / path


def remove(directory: Path) -> bool:
    """Remove a cgroup without processes, if it exists; False when the kernel refuses.

    Where cgroups are mounted read-only, as in a container, one that was never made is refused as "read-only".
    """
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()
