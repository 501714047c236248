"""What a container uses, and which processes it has: read from the kernel's files, or else asked of the engine.

Source: Docker, "Runtime metrics": `docker stats` takes about a second for a sample, the cgroup's files nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from pytest_mme.runtimes.docker import creation
from pytest_mme.serving.memory import cgroups

if TYPE_CHECKING:
    from docker.models.containers import Container


_ENDED = "<defunct>"  # as ps marks a process that has ended and that nobody has waited for


class Probe(Protocol):
    """Reads a container's memory and processes."""

    every_s: float
    """How long to wait between two readings, in seconds."""

    def used_bytes(self) -> int:
        """The memory that is charged to it, less page cache, in bytes; raises OSError when it is gone."""

    def limit_bytes(self) -> int | None:
        """Its memory limit, in bytes; None where there is none, or where it cannot be known."""

    def peak_bytes(self) -> int | None:
        """The most that was ever charged to it, page cache included; None where that cannot be known."""

    def kills(self) -> int | None:
        """How many of its processes the kernel has killed for lack of memory; None where that cannot be known."""

    def processes(self) -> Mapping[int, str]:
        """The command line of each of its processes, by a pid that is its own as long as it lives."""


class CgroupProbe:
    """Reads the container's memory cgroup."""

    every_s = 0.1

    def __init__(self, cgroup: cgroups.MemoryCgroup) -> None:
        self.cgroup = cgroup

    def used_bytes(self) -> int:
        """What the kernel charges, less page cache."""
        return self.cgroup.used_bytes()

    def limit_bytes(self) -> int | None:
        """The kernel's limit."""
        return self.cgroup.limit_bytes()

    def peak_bytes(self) -> int | None:
        """The kernel's own mark."""
        return self.cgroup.peak_bytes()

    def kills(self) -> int | None:
        """The kernel's own counter."""
        return self.cgroup.kills()

    def processes(self) -> Mapping[int, str]:
        """The processes that `/proc` of this machine shows."""
        found = {}
        for pid in map(int, (self.cgroup.directory / "cgroup.procs").read_text().split()):
            with contextlib.suppress(psutil.Error):
                found[pid] = " ".join(psutil.Process(pid).cmdline())
        return found


class EngineProbe:
    """Asks the engine, which may be on another machine; its `APIError` is an `OSError`."""

    every_s = 1.0

    def __init__(self, container: Container) -> None:
        self._container = container
        self._peak_bytes: int | None = None

    def used_bytes(self) -> int:
        """`memory_stats` of `docker stats`, less page cache."""
        sample: Any = self._container.stats(stream=False)
        memory = sample["memory_stats"]
        stat = memory.get("stats", {})
        cached = (int(stat.get(f"total_{name}", stat.get(name, 0))) for name in ("inactive_file", "active_file"))
        used = int(memory.get("usage", 0))
        self._peak_bytes = memory.get("max_usage")
        return used - sum(cached)

    def limit_bytes(self) -> int | None:
        """The limit that the container was created with, or that it was updated to."""
        self._container.reload()
        limit = int(self._container.attrs["HostConfig"]["Memory"])
        return limit if 0 < limit < creation.NO_LIMIT else None

    def peak_bytes(self) -> int | None:
        """`max_usage` of the sample that `used_bytes` asked for last; engines on cgroups of version 2 do not have it."""
        return self._peak_bytes

    def kills(self) -> int | None:
        """Return None: the engine reports that there was a kill, not how many."""
        return None

    def processes(self) -> Mapping[int, str]:
        """`docker top`."""
        table = self._container.top(ps_args="-eo pid,args")
        lines = {int(row[0]): " ".join(row[1:]) for row in table["Processes"]}
        return {pid: line for pid, line in lines.items() if not line.endswith(_ENDED)}


def probe_of(container: Container) -> Probe:
    """The best probe for a container that runs."""
    pid = container.attrs["State"]["Pid"]
    proc = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        # The pid is that of a process of this machine, and of this container.
        if pid and str(container.id) in (proc / "cgroup").read_text():
            return CgroupProbe(cgroups.own(proc, mounts=Path("/proc/self/mountinfo")))
    return EngineProbe(container)
