"""Workers without a cgroup of their own: without a limit, or with one that the kit itself enforces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from pytest_mme.serving.memory.enforcement import Enforcement
from pytest_mme.serving.memory.private_memory import private_bytes

_SAMPLE_EVERY_S = 0.02


class NoLimit(Enforcement):
    """No limit; the workers' memory is still measured."""

    name = "none"
    cheap_to_measure = False
    limit_bytes = None

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        self._pids = pids

    def used_bytes(self) -> int:
        """The workers' private memory."""
        return sum(map(private_bytes, self._pids()))


class SampledLimit(Enforcement):
    """The limit where no cgroup may be made: the workers' memory is sampled, and the offender is killed by the kit.

    Between two samples the limit can be exceeded: this is a good imitation, not the kernel's guarantee.
    """

    name = "sampled private memory"
    cheap_to_measure = True  # it is not, but the limit samples it all the time anyway

    def __init__(self, pids: Callable[[], Collection[int]], limit_bytes: int, kill: Callable[[int], None]) -> None:
        self._pids, self._limit_bytes, self._kill = pids, limit_bytes, kill
        self._before: Mapping[int, int] = {}
        self._dying: set[int] = set()
        self._kills = self._peak_bytes = 0
        self._task = asyncio.create_task(self._watch())

    @property
    def limit_bytes(self) -> int:
        """The limit that the server was started with."""
        return self._limit_bytes

    def used_bytes(self) -> int:
        """The workers' private memory."""
        return sum(map(private_bytes, self._pids()))

    def peak_bytes(self) -> int:
        """The most that a sample has found."""
        return self._peak_bytes

    def kills(self) -> int:
        """How many workers this limit has killed."""
        return self._kills

    def close(self) -> None:
        """Stop sampling."""
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            sample = await asyncio.to_thread(lambda: {pid: private_bytes(pid) for pid in self._pids()})
            self._peak_bytes = max(self._peak_bytes, sum(sample.values()))
            self._dying &= sample.keys()
            alive = {pid: used for pid, used in sample.items() if pid not in self._dying}
            if sum(alive.values()) > self._limit_bytes:
                # The offender is the one that grew most since the sample before.
                offender = max(alive, key=lambda pid: alive[pid] - self._before.get(pid, 0))
                self._dying.add(offender)
                self._kills += 1
                self._kill(offender)
            self._before = sample
            await asyncio.sleep(_SAMPLE_EVERY_S)
