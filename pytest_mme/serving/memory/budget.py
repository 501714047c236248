"""Decides whether a load fits into the workers' memory limit."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory.enforcement import MIB, Enforcement


@dataclasses.dataclass(eq=False)
class Claim:
    """The memory that a model's processes may come to use, from before its load until they are gone."""

    fingerprint: str
    estimated_bytes: int
    bytes: int
    processes: dict[int, Mapping[str, Any]]
    """The place of each under the limit (`Enforcement.reserve`), by pid."""
    handled: bool = False
    """Whether one of them runs user code: its needs do not help to estimate the next model's."""


class DoesNotFitError(Exception):
    """A load would exceed the limit; the message has what it needs, what is taken and the limit."""


class Budget:
    """Decides whether a load fits: what the present workers hold or will hold, and what this one needs.

    A model that was loaded and not invoked yet holds less than it will, so every worker keeps its claim to the end.
    """

    def __init__(self, config: ServingConfig, enforcement: Enforcement) -> None:
        self.enforcement = enforcement
        self._admits_all = config.admission == "none"
        self._known = config.known_bytes
        self._learnt: dict[str, int] = {}
        self._worker_bytes = enforcement.worker_bytes
        self._claims: dict[int, Claim] = {}
        self._lock = threading.Lock()

    def claim(self, pid: int, reserved: Mapping[str, Any], fingerprint: str, estimated_bytes: int) -> Claim:
        """Enter a load by the worker *pid*; raises `DoesNotFitError`. Loads are checked one at a time."""
        with self._lock:
            # What was measured for this very archive; else the estimate, or more if a load was seen to need more.
            estimated_need = max(estimated_bytes + self._worker_bytes, self._learnt.get(fingerprint, 0))
            need = self._known.get(fingerprint, estimated_need)
            claim = Claim(fingerprint, estimated_bytes, need, {pid: reserved})
            if not self._admits_all and (limit_bytes := self.enforcement.limit_bytes) is not None:
                # Each process is looked at once: what they hold and will hold must not be read at two moments.
                taken = self.enforcement.own_bytes()
                taken += sum(max(other.bytes, self._bytes_of(other)) for other in self._all())
                if taken + need > limit_bytes:
                    raise DoesNotFitError(
                        f"the model needs about {need / MIB:.0f} MiB; {taken / MIB:.0f} MiB are taken "
                        f"by models loaded or loading, of {limit_bytes / MIB:.0f} MiB"
                    )
            self._claims[pid] = claim
            return claim

    def join(self, claim: Claim, pid: int, reserved: Mapping[str, Any]) -> None:
        """Add the process that runs the user's code for the same model."""
        claim.processes[pid] = reserved
        claim.handled = True
        self._claims[pid] = claim

    def _all(self) -> set[Claim]:
        return set(self._claims.copy().values())

    def _bytes_of(self, claim: Claim) -> int:
        return sum(self.enforcement.bytes_of(pid, reserved) for pid, reserved in claim.processes.copy().items())

    def loaded(self, claim: Claim) -> int:
        """Learn from a load that succeeded; returns what the model's processes hold now, in bytes."""
        measured = self._bytes_of(claim)
        with self._lock:
            self._learn(claim, measured)
            if not claim.handled:
                self._worker_bytes = max(self._worker_bytes, measured - claim.estimated_bytes)
        return measured

    def ran_out_of_memory(self, claim: Claim) -> None:
        """Learn from a load that ran out of memory: it needs more than what the others had left it."""
        if not self._admits_all and (limit_bytes := self.enforcement.limit_bytes) is not None:
            others = self.enforcement.own_bytes()
            others += sum(self._bytes_of(other) for other in self._all() if other is not claim)
            with self._lock:
                self._learn(claim, max(claim.bytes, limit_bytes - others + 1))

    def _learn(self, claim: Claim, seen_bytes: int) -> None:
        self._learnt[claim.fingerprint] = max(seen_bytes, self._learnt.get(claim.fingerprint, 0))

    def release(self, pid: int, reserved: Mapping[str, Any]) -> None:
        """Free what a process that is gone held. Never blocks: the event loop calls it."""
        self.disclaim(pid)
        self.enforcement.release(reserved)

    def disclaim(self, pid: int) -> None:
        """Drop the claim of a process."""
        claim = self._claims.pop(pid, None)
        if claim is not None:
            claim.processes.pop(pid)
