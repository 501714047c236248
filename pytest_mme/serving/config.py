"""What the embedded server is told when it starts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

Admission = Literal["estimate", "none"]
OutOfMemory = Literal["kernel", "tensorflow"]
HowEnforced = Literal["auto", "cgroup", "sampled", "container"]
Device = Literal["cpu", "gpu"]
DeviceAsked = Literal["cpu", "gpu", "auto"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Settings of one embedded server; crosses to its process as one line of JSON."""

    name: str = "server"
    """Names the server in its events and its memory cgroup."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: the system picks a free one."""
    memory_bytes: int | None = None
    """What all workers together may use; None: no limit."""
    admission: Admission = "estimate"
    """`estimate`: answer 507 to a load that would not fit; `none`: try, and let the memory run out."""
    oom: OutOfMemory = "kernel"
    """`kernel`: whoever exceeds the limit is killed; `tensorflow`: TensorFlow's allocator reports RESOURCE_EXHAUSTED."""
    enforcement: HowEnforced = "auto"
    """How `oom="kernel"` is done: by a memory cgroup, or by sampling and killing; `auto` prefers the cgroup.

    `container`: by the limit of the container that the whole server lives in, which is not for the server to set.
    """
    cpus: int | None = None
    """Threads of each worker's TensorFlow; None: its own default, one per core."""
    device: Device = "cpu"
    """Where the models run. AWS supports multi-model endpoints on GPUs with Triton's container only."""
    gpu: int = 0
    """Which of the visible GPUs (`CUDA_VISIBLE_DEVICES`), where `device` is ``"gpu"``."""
    gpu_memory_fraction: float | None = None
    """How much of its memory each worker takes at once; None: as much as it comes to need (`allow_growth`)."""
    code: str | None = None
    """A folder with an `inference.py` for all models that bring none of their own (`/opt/ml/models/code`)."""
    handler_requests: int | None = None
    """How many requests a handler's process takes at once; None: 64, and one where it has `model_fn`.

    So do AWS's TensorFlow containers and the multi-model-server.
    """
    inference: str | None = None
    """A Python file whose `inference_handler(data, model_name)` answers for all models, in one process; None: none.

    It loads them, too: `named` are there from the start, below a folder that its environment names.
    """
    named: tuple[str, ...] = ()
    tensorflow: str | None = None
    """The folder that holds TensorFlow's libraries; None: the installed wheel's."""
    op_libraries: tuple[str, ...] = ()
    """Paths of op libraries, which every worker loads before its model."""
    known_bytes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Measured need of archives, by fingerprint (`estimate.py`): trusted more than the estimate."""
    drain_s: float = 30.0
    """How long an unload waits for requests in flight."""
    grace_s: float = 25.0
    """How long the end of the server waits for requests in flight: SageMaker sends SIGKILL 30 s after SIGTERM."""
    load_s: float = 360.0
    """How long a load may take before its worker is given up."""
    lifeline_fd: int | None = None
    """The server ends when this closes, at once and without draining; None: it lives until it is told."""
    cgroup_name: str = "pytest-mme"
    """What its memory cgroup is called."""
    cgroup_record: str | None = None
    """A file that gets the cgroup's path before the cgroup is made, for whoever has to clean up; None: none."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServingConfig:
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)
