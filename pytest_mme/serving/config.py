"""The settings that the embedded server is started with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Literal

Admission = Literal["estimate", "none"]
OutOfMemory = Literal["kernel", "tensorflow"]
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
"""The exit code of a server that lacks what it needs; the last message of its log says what."""
HowEnforced = Literal["auto", "cgroup", "sampled", "container"]
Device = Literal["cpu", "gpu"]
DeviceAsked = Literal["cpu", "gpu", "auto"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Settings of one embedded server; crosses to its process as one line of JSON."""

    name: str = "server"
    """The server's name in its events."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: the system picks a free port."""
    memory_bytes: int | None = None
    """The memory that all workers together may use; None: no limit."""
    admission: Admission = "estimate"
    """`estimate`: refuse a load that would not fit with 507; `none`: try it, and let the memory run out."""
    oom: OutOfMemory = "kernel"
    """`kernel`: a worker that exceeds the limit is killed; `tensorflow`: its allocator reports RESOURCE_EXHAUSTED."""
    enforcement: HowEnforced = "auto"
    """How `oom="kernel"` is enforced: by a memory cgroup, or by sampling and killing; `auto` prefers the cgroup.

    `container`: by the limit of the container that the whole server lives in, which the server cannot set.
    """
    cpus: int | None = None
    """Threads of each worker's TensorFlow; None: its own default, one per core."""
    device: Device = "cpu"
    """The device that models run on. AWS supports multi-model endpoints on GPUs with Triton's container only."""
    gpu: int = 0
    """Which of the visible GPUs (`CUDA_VISIBLE_DEVICES`), where `device` is ``"gpu"``."""
    gpu_memory_fraction: float | None = None
    """The share of its memory that each worker takes at its start; None: it grows with the need (`allow_growth`)."""
    code: str | None = None
    """A folder with an `inference.py` for all models without one of their own (`/opt/ml/models/code`)."""
    handler_requests: int | None = None
    """How many requests a handler's process runs at once; None: 64, or one when it has `model_fn`.

    These are the numbers of AWS's TensorFlow containers and of a worker of the multi-model-server.
    """
    inference: str | None = None
    """A Python file whose `inference_handler(data, model_name)` replies for all models, in one process; None: none.

    It also loads them: the `named` models exist from the start, below a folder that its environment names.
    """
    named: tuple[str, ...] = ()
    tensorflow: str | None = None
    """The folder that holds TensorFlow's libraries; None: the installed wheel's."""
    op_libraries: tuple[str, ...] = ()
    """Paths of op libraries, which every worker loads before its model."""
    known_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """The measured need of archives, by fingerprint (`estimate.py`): it replaces the estimate."""
    drain_s: float = 30.0
    """How long an unload waits for requests in flight."""
    grace_s: float = 25.0
    """How long the server's end waits for requests in flight: SageMaker sends SIGKILL 30 s after SIGTERM."""
    load_s: float = 360.0
    """How long a load may take before its worker is killed."""
    lifeline_fd: int | None = None
    """The server ends when this closes, at once and without draining; None: only a signal ends it."""
    cgroup_name: str = "pytest-mme"
    """The name of its memory cgroup."""
    cgroup_record: str | None = None
    """A file that gets the cgroup's path before the cgroup is made, so that it can be cleaned up; None: none."""

    def to_json(self) -> str:
        """The settings as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServingConfig:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
