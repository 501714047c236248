"""What a runtime is: it starts servers that speak the container contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from pytest_mme import versions
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import Dialect
from pytest_mme.errors import shown
from pytest_mme.timeline.events import Timeline


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """What a server must be like. The runtime is a setting of the run, not a field: tests do not choose it."""

    memory_mib: float | None = None
    """What all loaded models together may use, in MiB; None: no limit. In a container: all of its processes."""
    admission: Literal["estimate", "none"] = "estimate"
    """``estimate``: a load that would not fit is answered 507, nothing is killed; ``none``: the load is tried."""
    oom: Literal["kernel", "tensorflow"] = "kernel"
    """Who notices that memory ran out: the kernel, which kills, or TensorFlow, which reports RESOURCE_EXHAUSTED."""
    cpus: int | None = None
    """TensorFlow's threads in each model's process; None: one per core."""
    drain_s: float = 30.0
    """How long an unload waits for requests in flight."""
    grace_s: float = 25.0
    """How long the server waits for requests in flight after SIGTERM; SageMaker sends SIGKILL after 30 s."""
    code: Path | str | None = None
    """A folder whose `inference.py` answers for all models that bring no code of their own; None: the models do."""
    handler_requests: int | None = None
    """How many requests the process of an `inference.py` takes at once.

    None: what the real containers do, one where it has `model_fn`, else many: 64.
    """

    tf: str | None = None
    """Which TensorFlow serves: ``2.15.1``, ``2.15``, ``installed`` or ``latest``; None: the installed one, or the image's.

    A container takes the image `pytest-mme-server` of that version.
    """
    op_libraries: Sequence[Path | str] = ()
    """Op libraries (`.so`) that each model's process loads before its model: the embedded server only."""
    share: Literal["private", "run"] = "private"
    """``run``: one container for all tests and workers of the run that ask for the same; each has its own models there.

    The local runtime starts a server for each all the same: that takes it 0.4 s.
    """
    image: str | None = None
    """What the container runtime runs; None: what `--mme-image` says."""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """More environment variables for the server."""
    start_s: float = 60.0
    """How long the server may take until it answers."""
    device: Literal["cpu", "gpu"] | None = None
    """Where models run; None: what `--mme-device` says. AWS supports GPU endpoints with Triton's container only."""
    gpu: int = 0
    """Which of the visible GPUs, for ``device="gpu"``."""
    gpu_memory_fraction: float | None = None
    """How much of the GPU's memory each model's process takes at once; None: as much as it comes to need."""

    def __post_init__(self) -> None:
        _one_of("admission", self.admission, "estimate", "none")
        _one_of("share", self.share, "private", "run")
        _one_of("oom", self.oom, "kernel", "tensorflow")
        _one_of("device", self.device, "cpu", "gpu", None)
        _number("memory_mib", self.memory_mib, 1, 2**40, "MiB, at least 1, or None for no limit", none=True)
        _number("drain_s", self.drain_s, 0, 360, "seconds, 0 to 360: the platform waits no longer")
        _number("grace_s", self.grace_s, 0, 30, "seconds, 0 to 30: the platform waits no longer")
        _number("start_s", self.start_s, 0.1, 600, "seconds, 0.1 to 600")
        _number("gpu_memory_fraction", self.gpu_memory_fraction, 0.001, 1, "a fraction up to 1, or None", none=True)
        _whole("cpus", self.cpus, 1, 1024, "at least 1, or None for one thread per core", none=True)
        _whole("gpu", self.gpu, 0, 1024, "0 for the first GPU")
        _whole("handler_requests", self.handler_requests, 1, 1024, "1 to 1024, or None", none=True)
        if self.tf is not None:
            _version(self.tf)
        if missing := _no_files(self.op_libraries):
            raise ValueError(f"op_libraries: {missing}; give a list of files, as in model.op_libraries")
        if not _is_environment(self.env):
            raise ValueError(f"env={shown(self.env)}: give names and values, both text, such as {{'A': '1'}}")
        if self.image is not None and not (isinstance(self.image, str) and self.image):
            raise ValueError(f"image={shown(self.image)}: give an image's name, such as 'pytest-mme-server:2.21.0'")
        if self.code is not None and not _holds_code(self.code):
            raise ValueError(f"code={shown(self.code)}: that folder holds no inference.py; give one that does")


def _version(seen: object) -> None:
    try:
        versions.check(seen)
    except ValueError as error:
        raise ValueError(f"tf={shown(seen)}: {error}") from None


def _one_of(field: str, seen: object, *allowed: str | None) -> None:
    if seen not in allowed:
        raise ValueError(f"{field}={shown(seen)}: choose {' or '.join(map(repr, allowed))}")


def _number(field: str, seen: object, least: float, most: float, allowed: str, *, none: bool = False) -> None:
    if not (_within(seen, (int, float), least, most) or (none and seen is None)):
        raise ValueError(f"{field}={shown(seen)}: give {allowed}")


def _whole(field: str, seen: object, least: int, most: int, allowed: str, *, none: bool = False) -> None:
    if not (_within(seen, (int,), least, most) or (none and seen is None)):
        raise ValueError(f"{field}={shown(seen)}: give a whole number, {allowed}")


def _within(seen: Any, kinds: tuple[type[Any], ...], least: float, most: float) -> bool:
    return isinstance(seen, kinds) and not isinstance(seen, bool) and bool(least <= seen <= most)


def _no_files(seen: object) -> str:
    """Why *seen* is no list of files; empty when it is."""
    if isinstance(seen, str | Path) or not isinstance(seen, Sequence):
        return f"{shown(seen)} is no list"
    missing = [one for one in seen if not isinstance(one, str | Path) or not Path(one).is_file()]
    return f"{shown(missing[0])} is no file" if missing else ""


def _is_environment(seen: object) -> bool:
    return isinstance(seen, Mapping) and all(
        isinstance(name, str) and isinstance(value, str) and name and "=" not in name and "\0" not in name + value
        for name, value in seen.items()
    )


def _holds_code(seen: object) -> bool:
    try:
        return isinstance(seen, str | Path) and Path(seen, "inference.py").is_file()
    except OSError:  # a name that is too long, a folder that may not be read
        return False


def let_others_read(folder: Path, *, below: Path) -> None:
    """Let the server's user, who may be another, read all of *folder* and go through what is between it and *below*."""
    between = [parent for parent in folder.parents if parent.is_relative_to(below)]
    for path in (*between, folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


STOP_S = 30.0
"""SIGTERM, and so long after it SIGKILL. Source: AWS, "Use Your Own Inference Code with Hosting Services"."""


class Reached:
    """How a server is reached: directly, or by the detours that faults have put in between."""

    direct: ContractClient
    """Where the server is: for what the kit itself wants to know."""
    detours: tuple[ContractClient, ...] = ()
    """Calls go by the last, which hands them to the one before; `faults.detours`."""
    stopped = False
    """Whether a fault has stopped it."""

    @property
    def client(self) -> ContractClient:
        """For the calls of tests and of hosting."""
        return self.detours[-1] if self.detours else self.direct


class Running(Protocol):
    """A server that runs."""

    name: str
    direct: ContractClient
    detours: tuple[ContractClient, ...]
    stopped: bool
    dialect: Dialect
    """How its answers are to be read; `contract.dialects.dialect_of` asks a server that nobody knows."""
    facts: Mapping[str, Any]
    """What it said of itself when it came up: `tensorflow`, `enforcement` and others."""
    models: Path
    """Where models are put for it, on this side; each in a folder of its own."""

    @property
    def client(self) -> ContractClient:
        """For the calls of tests and of hosting: by the detours if there are any; `Reached`."""

    def place(self, folder: Path) -> str:
        """Make a folder below `models` visible to the server, as it is now; how the server calls it."""

    def log(self) -> str:
        """What it has logged."""

    def gone(self) -> str | None:
        """Why it does not run any more; None while it does."""

    def used_bytes(self) -> int:
        """What its models use now."""

    def catch_up(self) -> None:
        """Return when all that the server has seen until now is on the timeline."""

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal, such as KILL, to the process of a loaded model; raises `UnavailableError` where it cannot."""

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use memory under the limit, up to *most_mib*, until the kernel has killed the process of a loaded model.

        Raises `UnavailableError` where that cannot be done, or nothing was killed.
        """

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the memory limit, in bytes, and return the one before; raises `UnavailableError` where it cannot."""

    def stop(self, grace_s: float = STOP_S) -> float:
        """SIGTERM, and after *grace_s* seconds SIGKILL; how many seconds it took. `UnavailableError` where it cannot."""

    def start_again(self) -> None:
        """Start it after a stop, with nothing loaded; `direct` is another then."""


class Runtime(Protocol):
    """Starts servers."""

    name: str
    """As the header shows it."""

    def identity(self, spec: ServerSpec) -> str:
        """Names what is run, so that measurements of it can be kept: the runtime and the version of what it starts."""

    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> AbstractContextManager[Running]:
        """Start a server, hand it over once it answers, and end it; raises `ServerStartError`.

        *known_bytes*: measured need of archives by their fingerprint, for a server that can use that.
        """
