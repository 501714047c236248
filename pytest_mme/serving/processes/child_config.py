"""The settings of a worker or a handler's process, which the front sends to the zygote."""

from __future__ import annotations

import dataclasses
from typing import Literal

ChildKind = Literal["worker", "handler"]
"""A worker holds the SavedModel; a handler's process runs the user's code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChildConfig:
    """The settings of a child of the zygote, which it gets when it is forked."""

    token: int
    """Identifies the fork in the zygote's reports, before its pid is known."""
    kind: ChildKind = "worker"
    threads: int | None = None
    """Threads of a worker's TensorFlow; None: one per core."""
    gpu: bool = False
    """Whether a worker's model must find a GPU."""
    gpu_memory_fraction: float | None = None
    op_libraries: tuple[str, ...] = ()
    """Op libraries that a worker loads before its model."""
    cgroup_procs: str | None = None
    """The file that a process writes "0" to in order to join the workers' memory cgroup."""
    oom_score_adj: int | None = None
    """How much sooner than others the kernel kills a process when memory runs out: -1000 to 1000, proc(5)."""
    allocator_slot: int | None = None
    """Its slot in the allocator budget (`memory/allocator.py`)."""
