"""Limits that the kernel enforces: the workers' own memory cgroup, or that of the container around the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import cgroups
from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.memory.private_memory import private_bytes

_KILL_FIRST = 1000  # the most that oom_score_adj can be; proc(5)

log = logging.getLogger("pytest_mme")


class KernelLimit(Enforcement):
    """The limit of a memory cgroup: the kernel kills a process when those in it exceed the limit."""

    cheap_to_measure = True

    def __init__(self, cgroup: cgroups.MemoryCgroup) -> None:
        self._cgroup = cgroup

    @property
    def limit_bytes(self) -> int | None:
        """The cgroup's limit, read anew each time: it can be changed from outside."""
        return self._cgroup.limit_bytes()

    def used_bytes(self) -> int:
        """What the cgroup is charged, less page cache."""
        return self._cgroup.used_bytes()

    def peak_bytes(self) -> int | None:
        """The kernel's own mark of the most that was charged."""
        return self._cgroup.peak_bytes()

    def kills(self) -> int:
        """The kernel's own counter."""
        return self._cgroup.kills()


class CgroupLimit(KernelLimit):
    """A memory cgroup that is made for the workers."""

    def __init__(self, cgroup: cgroups.MemoryCgroup) -> None:
        super().__init__(cgroup)
        self.name = f"memory cgroup v{cgroup.version}"
        self.cgroup_directory: Path = cgroup.directory

    @classmethod
    def create(cls, config: ServingConfig) -> CgroupLimit:
        """Make the cgroup, with the limit of *config*; raises OSError when the system does not allow it."""

        def record(directory: Path) -> None:
            if config.cgroup_record is not None:
                with Path(config.cgroup_record).open("a") as file:
                    file.write(f"{directory}\n")

        cgroup = cgroups.create(config.cgroup_name, before_creation=record)
        try:
            if config.memory_bytes is not None:
                cgroup.limit(config.memory_bytes)
        except OSError:
            cgroups.remove(cgroup.directory)
            raise
        return cls(cgroup)

    def reserve(self) -> Mapping[str, Any]:
        """A worker moves itself into the cgroup before it allocates anything."""
        return {"cgroup_procs": str(self.cgroup_directory / "cgroup.procs")}

    def close(self) -> None:
        """Remove the cgroup, whose processes are gone."""
        if not cgroups.remove(self.cgroup_directory):
            log.warning("the cgroup %s could not be removed: a process is still in it", self.cgroup_directory)


class ContainerLimit(KernelLimit):
    """The limit of the container that the server lives in: it counts the server's own processes, too."""

    def __init__(self, pids: Callable[[], Collection[int]], cgroup: cgroups.MemoryCgroup) -> None:
        super().__init__(cgroup)
        self._pids = pids
        self.name = f"the container's memory cgroup v{cgroup.version}"

    def own_bytes(self) -> int:
        """What the container is charged beyond its workers' private memory."""
        return max(0, self.used_bytes() - sum(map(private_bytes, self._pids())))

    def reserve(self) -> Mapping[str, Any]:
        """When the container runs out of memory, the kernel is to kill a worker and not the server."""
        return {"oom_score_adj": _KILL_FIRST}
