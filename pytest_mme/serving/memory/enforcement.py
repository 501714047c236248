"""The interface of everything that keeps the workers' memory within a limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pytest_mme.serving.memory.private_memory import private_bytes

MIB = 1024 * 1024


class Enforcement(Protocol):
    """A way to keep the workers' memory within the limit."""

    name: str
    """As the header shows it."""
    cheap_to_measure: bool
    """Whether `used_bytes` costs next to nothing, however many workers there are."""
    worker_bytes: int = 16 * MIB  # measured: 14
    """A tiny model's worker, as `bytes_of` measures it; where a larger one was seen, `Budget` counts that."""
    environment: Mapping[str, str] = {}
    """Variables that the zygote's environment needs for it."""
    descriptors: tuple[int, ...] = ()
    """File descriptors that the zygote inherits for it."""
    cgroup_directory: Path | None = None
    """The cgroup that was made for the workers; None when there is none."""

    @property
    def limit_bytes(self) -> int | None:
        """The limit of `used_bytes`; None when there is no limit."""

    def used_bytes(self) -> int:
        """The memory that the workers use together now."""

    def peak_bytes(self) -> int | None:
        """The most that they ever used together, short peaks between two measurements included; None: unknown."""
        return None

    def measured(self) -> dict[str, int | None]:
        """What samples report: what is used, the limit, and the peak where it is known."""
        peak = self.peak_bytes()
        known = {} if peak is None else {"peak_bytes": peak}
        return {"used_bytes": self.used_bytes(), "limit_bytes": self.limit_bytes, **known}

    def own_bytes(self) -> int:
        """The part of `used_bytes` that belongs to the server itself."""
        return 0

    def bytes_of(self, pid: int, reserved: Mapping[str, Any]) -> int:
        """The part of `used_bytes` that belongs to one worker; 0 when it is gone."""
        del reserved
        return private_bytes(pid)

    def kills(self) -> int:
        """How many workers have been killed for lack of memory."""
        return 0

    def reserve(self) -> Mapping[str, Any]:
        """Reserve a new worker's place under the limit; returns the fields of `ChildConfig` that put it there."""
        return {}

    def release(self, reserved: Mapping[str, Any]) -> None:
        """Free the place of a worker that is gone."""
        del reserved

    def close(self) -> None:
        """Free the system's resources."""
        return  # a body that is not empty, so that it is not abstract
