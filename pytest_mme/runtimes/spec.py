"""What a server must be like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_mme.validation import check, number, one_of, rule, tensorflow_version, text, whole

Admission = Literal["estimate", "none"]
MemoryWatch = Literal["kernel", "tensorflow"]
Sharing = Literal["private", "run"]
Device = Literal["cpu", "gpu"]


def _holds_code(seen: Any) -> bool:
    try:
        return isinstance(seen, str | Path) and Path(seen, "inference.py").is_file()
    except OSError:  # a name that is too long, a folder that may not be read
        return False


def _are_files(seen: Any) -> bool:
    if isinstance(seen, str) or not isinstance(seen, Sequence):
        return False
    return all(isinstance(one, str | Path) and Path(one).is_file() for one in seen)


def _is_environment(seen: Any) -> bool:
    return isinstance(seen, Mapping) and all(
        isinstance(name, str) and isinstance(value, str) and name and "=" not in name and "\0" not in name + value
        for name, value in seen.items()
    )


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """What a server must be like. The runtime is a setting of the run, not a field: tests do not choose it.

    A wrong field raises ValueError that names the field, what was seen and what it takes.
    """

    memory_mib: float | None = field(
        default=None, metadata=number("MiB, at least 1, or None for no limit", least=1, most=2**40)
    )
    """What all loaded models together may use, in MiB; None: no limit. In a container: all of its processes."""
    admission: Admission = field(default="estimate", metadata=one_of(*get_args(Admission)))
    """``estimate``: the reply to a load that would not fit is 507, and nothing is killed; ``none``: the load is tried."""
    oom: MemoryWatch = field(default="kernel", metadata=one_of(*get_args(MemoryWatch)))
    """Who notices that memory ran out: the kernel, which kills, or TensorFlow, which reports RESOURCE_EXHAUSTED."""
    cpus: int | None = field(default=None, metadata=whole("at least 1, or None for one thread per core", 1, 1024))
    """TensorFlow's threads in each model's process; None: one per core."""
    drain_s: float = field(default=30.0, metadata=number("seconds, 0 to 360: the platform waits no longer", 0, 360))
    """How long an unload waits for requests in flight."""
    grace_s: float = field(default=25.0, metadata=number("seconds, 0 to 30: the platform waits no longer", 0, 30))
    """How long the server waits for requests in flight after SIGTERM; SageMaker sends SIGKILL after 30 s."""
    code: Path | str | None = field(default=None, metadata=rule("a folder that holds an inference.py", _holds_code))
    """A folder whose `inference.py` replies for all models that bring no code of their own; None: the models do."""
    handler_requests: int | None = field(default=None, metadata=whole("1 to 1024, or None", 1, 1024))
    """How many requests the process of an `inference.py` takes at once.

    None: what the real containers do, one where it has `model_fn`, else many: 64.
    """
    tf: str | None = field(default=None, metadata=tensorflow_version())
    """Which TensorFlow serves: ``2.15.1``, ``2.15``, ``installed`` or ``latest``; None: the installed one, or else 2.21.0.

    A container has the image's by default, and otherwise takes the image `pytest-mme-server` of that version.
    """
    op_libraries: Sequence[Path | str] = field(
        default=(), metadata=rule("a list of files that are there, as in model.op_libraries", _are_files)
    )
    """Op libraries (`.so`) that each model's process loads before its model: the embedded server only."""
    share: Sharing = field(default="private", metadata=one_of(*get_args(Sharing)))
    """``run``: one container for all tests and workers of the run that ask for the same; each has its own models there.

    The local runtime starts a server for each all the same: that takes it 0.4 s.
    """
    image: str | None = field(
        default=None, metadata=text("an image's name, such as 'pytest-mme-server:2.21.0'", r"(?s).+")
    )
    """What the container runtime runs; None: the image of `--mme-image`."""
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=rule("names and values, both text, such as {'A': '1'}", _is_environment)
    )
    """More environment variables for the server."""
    start_s: float = field(default=60.0, metadata=number("seconds, 0.1 to 600", 0.1, 600))
    """How long the server may take until it is ready."""
    device: Device | None = field(default=None, metadata=one_of(*get_args(Device), None))
    """Where models run; None: the device of `--mme-device`. AWS supports GPU endpoints with Triton's container only."""
    gpu: int = field(default=0, metadata=whole("0 for the first GPU", 0, 1024))
    """Which of the visible GPUs, for ``device="gpu"``."""
    gpu_memory_fraction: float | None = field(
        default=None, metadata=number("a fraction up to 1, or None", least=0.001, most=1)
    )
    """How much of the GPU's memory each model's process takes at once; None: as much as it comes to need."""

    def __post_init__(self) -> None:
        check(self)
