"""The memory budget of the workers: how it is enforced, and what is let in."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import cgroups
from pytest_mme.serving.memory.allocator import AllocatorBudget

MIB = 1024 * 1024
_SAMPLE_EVERY_S = 0.02
_KILL_FIRST = 1000  # the most that oom_score_adj can be; proc(5)

log = logging.getLogger("pytest_mme")


class Enforcement(Protocol):
    """How the workers' memory is kept within the limit."""

    name: str
    """As the header shows it."""
    environment: Mapping[str, str]
    """What the zygote's environment needs for it."""
    descriptors: tuple[int, ...]
    """File descriptors that the zygote inherits for it."""
    cheap: bool
    """Whether `used_bytes` costs next to nothing, however many workers there are."""

    def enter(self) -> dict[str, Any]:
        """The fields of `zygote.ChildConfig` that put a new worker under the limit."""

    def left(self, entered: Mapping[str, Any]) -> None:
        """The worker that was given *entered* is gone."""

    @property
    def limit_bytes(self) -> int | None:
        """What `used_bytes` may come to; None: there is no limit."""

    def own_bytes(self) -> int:
        """What of `used_bytes` is not the workers' but the server's own."""

    worker_bytes: int
    """What a tiny model's worker takes, in the terms of `used_bytes`; a larger one seen later counts from then on."""

    def used_bytes(self) -> int:
        """What the workers use together now."""

    def bytes_of(self, pid: int, entered: Mapping[str, Any]) -> int:
        """What one worker uses of that; 0 when it is gone."""

    def kills(self) -> int:
        """How many workers were killed for lack of memory."""

    def close(self) -> None:
        """Give back what it holds of the system."""


class NoLimit:
    """No limit; the workers' memory is still measured."""

    name = "none"
    environment: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()
    cheap = False
    worker_bytes = 16 * MIB  # measured: 14

    limit_bytes: int | None = None

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self._pids = pids

    def own_bytes(self) -> int:
        """Nothing: only workers are counted."""
        return 0

    def enter(self) -> dict[str, Any]:
        """Nothing to do."""
        return {}

    def left(self, entered: Mapping[str, Any]) -> None:
        """Nothing to do."""

    def used_bytes(self) -> int:
        """The workers' private memory."""
        return sum(map(private_bytes, self._pids()))

    def bytes_of(self, pid: int, entered: Mapping[str, Any]) -> int:
        """Its private memory."""
        del entered
        return private_bytes(pid)

    def kills(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Nothing is held."""


class KernelLimit(NoLimit):
    """A memory cgroup: the kernel kills."""

    cheap = True

    def __init__(self, cgroup: cgroups.MemoryCgroup, limit_bytes: int | None) -> None:
        self.cgroup = cgroup
        self.name = f"memory cgroup v{cgroup.version}"
        if limit_bytes is not None:
            cgroup.limit(limit_bytes)

    @property
    def limit_bytes(self) -> int | None:  # type: ignore[override]  # read anew: it is changed from outside
        """The kernel's limit."""
        return self.cgroup.limit_bytes()

    def enter(self) -> dict[str, Any]:
        """A worker moves itself into the cgroup before it allocates anything."""
        return {"cgroup_procs": str(self.cgroup.directory / "cgroup.procs")}

    def used_bytes(self) -> int:
        """What the cgroup is charged, less page cache."""
        return self.cgroup.used_bytes()

    def kills(self) -> int:
        """The kernel's own counter."""
        return self.cgroup.kills()

    def close(self) -> None:
        """Remove the cgroup, whose processes are gone."""
        if not cgroups.remove(self.cgroup.directory):
            log.warning("the cgroup %s could not be removed: something is still in it", self.cgroup.directory)


class ContainerLimit(NoLimit):
    """The limit of the container that the server lives in: it holds the server's own processes, too."""

    cheap = True

    def __init__(self, pids: Callable[[], Collection[int]], cgroup: cgroups.MemoryCgroup) -> None:
        super().__init__(pids)
        self._cgroup = cgroup
        self.name = f"the container's memory cgroup v{cgroup.version}"

    @property
    def limit_bytes(self) -> int | None:  # type: ignore[override]  # read anew: it is changed from outside
        """The container's limit."""
        return self._cgroup.limit_bytes()

    def own_bytes(self) -> int:
        """What the container is charged beyond its workers' private memory."""
        return max(0, self.used_bytes() - super().used_bytes())

    def enter(self) -> dict[str, Any]:
        """Where the container runs out of memory, a worker is to be killed and not the server."""
        return {"oom_score_adj": _KILL_FIRST}

    def used_bytes(self) -> int:
        """What the container is charged, less page cache."""
        return self._cgroup.used_bytes()

    def kills(self) -> int:
        """The kernel's own counter."""
        return self._cgroup.kills()


class SampledLimit(NoLimit):
    """Where no cgroup may be made: the workers' memory is sampled, and the offender is killed by the kit.

    Between two samples the limit can be exceeded: this is a good imitation, not the kernel's guarantee.
    """

    name = "sampled private memory"
    cheap = True  # dear, but the limit has it sampled all the time anyway

    def __init__(self, pids: Callable[[], Collection[int]], limit_bytes: int, kill: Callable[[int], None]) -> None:
        super().__init__(pids)
        self.limit_bytes = self._limit_bytes = limit_bytes
        self._kill = kill
        self._before: Mapping[int, int] = {}
        self._dying: set[int] = set()
        self._kills = 0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            sample = await asyncio.to_thread(lambda: {pid: private_bytes(pid) for pid in self._pids()})
            self._dying &= sample.keys()
            alive = {pid: used for pid, used in sample.items() if pid not in self._dying}
            if sum(alive.values()) > self._limit_bytes:
                self._kill_offender(alive)
            self._before = sample
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def _kill_offender(self, alive: Mapping[int, int]) -> None:
        """The offender is the one that grew most since the sample before."""
        offender = max(alive, key=lambda pid: alive[pid] - self._before.get(pid, 0))
        self._dying.add(offender)
        self._kills += 1
        self._kill(offender)

    def kills(self) -> int:
        """Our own count."""
        return self._kills

    def close(self) -> None:
        """Stop sampling."""
        self._task.cancel()


def private_bytes(pid: int) -> int:
    """Memory that a process has written and shares with nobody; 0 when it is gone.

    `Private_Dirty` is what a cgroup is charged for a worker, to within 1 % (docs/facts.md). PSS also counts a share of
    the zygote's pages, which shrinks with each further worker, and USS counts TensorFlow's library while nobody else
    happens to have it mapped. psutil gives only those two.
    """
    try:
        table = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Private_Dirty:\s+(\d+) kB$", table, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def enforce(config: ServingConfig, pids: Callable[[], Collection[int]], kill: Callable[[int], None]) -> Enforcement:
    """The enforcement that *config* asks for and this system allows; OSError when it asks for what it can't have."""
    if config.memory_bytes is not None and config.oom == "tensorflow":
        return AllocatorBudget(config.memory_bytes)
    if config.enforcement == "container":
        return ContainerLimit(pids, cgroups.own())
    if config.enforcement != "sampled":
        try:
            return _kernel_limit(config)
        except OSError as error:
            if config.enforcement == "cgroup":
                raise
            log.info("%s", error)
    return NoLimit(pids) if config.memory_bytes is None else SampledLimit(pids, config.memory_bytes, kill)


def _kernel_limit(config: ServingConfig) -> KernelLimit:
    cgroup = cgroups.create(config.cgroup_name, promise=partial(_record_path, config.cgroup_record))
    try:
        return KernelLimit(cgroup, config.memory_bytes)
    except OSError:
        cgroups.remove(cgroup.directory)
        raise


def _record_path(record: str | None, directory: Path) -> None:
    if record is not None:
        with Path(record).open("a") as file:
            file.write(f"{directory}\n")


@dataclasses.dataclass(eq=False)
class Claim:
    """What a model's processes may come to use, from before its load until they are gone."""

    fingerprint: str
    estimated_bytes: int
    bytes: int
    processes: dict[int, Mapping[str, Any]]
    """What put each of them under the limit, by pid."""
    handled: bool = False
    """Whether the user's code is one of them: its needs say nothing of the next model's."""


class DoesNotFitError(Exception):
    """A load would exceed the limit; says by what."""


class Budget:
    """Decides whether a load fits: what the workers there are hold or will hold, and what this one needs.

    A model that was loaded and not asked yet holds less than it will, so every worker keeps its claim to the end.
    """

    def __init__(self, config: ServingConfig, enforcement: Enforcement) -> None:
        self.enforcement = enforcement
        self._admits_all = config.admission == "none"
        self._known = config.known_bytes
        self._learnt: dict[str, int] = {}
        self._worker_bytes = enforcement.worker_bytes
        self._claims: dict[int, Claim] = {}
        self._lock = threading.Lock()

    def claim(self, pid: int, entered: Mapping[str, Any], fingerprint: str, estimated_bytes: int) -> Claim:
        """Enter a load by the worker *pid*; raises `DoesNotFitError`. One at a time: it reads what others changed."""
        with self._lock:
            need = self._need(fingerprint, estimated_bytes)
            claim = Claim(fingerprint, estimated_bytes, need, {pid: entered})
            if not self._admits_all and (limit_bytes := self.enforcement.limit_bytes) is not None:
                self._check(claim, limit_bytes)
            self._claims[pid] = claim
            return claim

    def join(self, claim: Claim, pid: int, entered: Mapping[str, Any]) -> None:
        """The process that runs the user's code for the same model."""
        claim.processes[pid] = entered
        claim.handled = True
        self._claims[pid] = claim

    def _need(self, fingerprint: str, estimated_bytes: int) -> int:
        """What was measured for this very archive, else the estimate, unless it was once seen to need more."""
        if fingerprint in self._known:
            return self._known[fingerprint]
        return max(estimated_bytes + self._worker_bytes, self._learnt.get(fingerprint, 0))

    def _check(self, claim: Claim, limit_bytes: int) -> None:
        """One look at each process: what they hold and what they will hold must not be read at two moments."""
        taken = self.enforcement.own_bytes()
        taken += sum(max(other.bytes, self._bytes_of(other)) for other in self._all())
        if taken + claim.bytes > limit_bytes:
            raise DoesNotFitError(
                f"the model needs about {claim.bytes / MIB:.0f} MiB; {taken / MIB:.0f} MiB are taken "
                f"by models loaded or loading, of {limit_bytes / MIB:.0f} MiB"
            )

    def _all(self) -> set[Claim]:
        return set(self._claims.copy().values())

    def _bytes_of(self, claim: Claim) -> int:
        return sum(self.enforcement.bytes_of(pid, entered) for pid, entered in claim.processes.copy().items())

    def loaded(self, claim: Claim) -> int:
        """The load succeeded: learn from it, and return what the model's processes hold now, in bytes."""
        measured = self._bytes_of(claim)
        with self._lock:
            self._learn(claim, measured)
            if not claim.handled:
                self._worker_bytes = max(self._worker_bytes, measured - claim.estimated_bytes)
        return measured

    def ran_out_of_memory(self, claim: Claim) -> None:
        """The load ran out of memory: it needs more than what the others had left it."""
        if not self._admits_all and (limit_bytes := self.enforcement.limit_bytes) is not None:
            others = self.enforcement.own_bytes()
            others += sum(self._bytes_of(other) for other in self._all() if other is not claim)
            with self._lock:
                self._learn(claim, max(claim.bytes, limit_bytes - others + 1))

    def _learn(self, claim: Claim, seen_bytes: int) -> None:
        self._learnt[claim.fingerprint] = max(seen_bytes, self._learnt.get(claim.fingerprint, 0))

    def left(self, pid: int, entered: Mapping[str, Any]) -> None:
        """A process is gone, and what it held is free. Never waits: the event loop calls it."""
        self.disclaim(pid)
        self.enforcement.left(entered)

    def disclaim(self, pid: int) -> None:
        """A process claims nothing any more."""
        claim = self._claims.pop(pid, None)
        if claim is not None:
            claim.processes.pop(pid)
