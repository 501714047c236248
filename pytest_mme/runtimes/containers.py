"""What a container is created with: the platform's environment and mounts, the limits, the port, the labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.runtimes.base import ServerSpec
from pytest_mme.serving import container as embedded

if TYPE_CHECKING:
    from docker.types import Mount

PORT = 8080
EVENTS_LABEL = "pytest-mme.events"
"""An image that has it is the embedded server: it tells its events, and takes the kit's own settings."""

_CODE_FOLDER = "/opt/ml/code"
_PORTS = "25000-25999"  # what containers of real endpoints see
_MIB = 1024 * 1024
_NANO = 10**9


def environment(spec: ServerSpec, server: str, known_bytes: Mapping[str, int], *, tells: bool) -> dict[str, str]:
    """What the platform sets, what the embedded server is told, and the user's own, which wins."""
    platform = {
        routes.MULTI_MODEL: "true",
        routes.BIND_TO_PORT: str(PORT),
        routes.SAFE_PORT_RANGE: _PORTS,
        "AWS_REGION": "us-east-1",
    }
    told = {embedded.EVENTS: "stdout", embedded.SETTINGS: json.dumps(_settings(spec, server, known_bytes))}
    return platform | (told if tells else {}) | dict(spec.env)


def _settings(spec: ServerSpec, server: str, known_bytes: Mapping[str, int]) -> dict[str, Any]:
    same = ("admission", "oom", "cpus", "drain_s", "grace_s", "handler_requests", "gpu_memory_fraction")
    fields = {name: getattr(spec, name) for name in same}
    if spec.oom == "tensorflow" and spec.memory_mib is not None:
        fields |= {"memory_bytes": int(spec.memory_mib * _MIB)}
    return {"name": server, "known_bytes": dict(known_bytes), **fields}


def limits(spec: ServerSpec) -> dict[str, Any]:
    """Memory, with swap set to the same, and CPUs. With ``oom="tensorflow"`` it is TensorFlow that has the limit."""
    found: dict[str, Any] = {}
    if spec.memory_mib is not None and spec.oom == "kernel":
        limit = int(spec.memory_mib * _MIB)
        found |= {"mem_limit": limit, "memswap_limit": limit}
    if spec.cpus is not None:
        found["nano_cpus"] = spec.cpus * _NANO
    return found


def devices(spec: ServerSpec, device: str) -> dict[str, Any]:
    """The GPU that the container may see."""
    from docker.types import DeviceRequest

    if (spec.device or device) != "gpu":
        return {}
    return {"device_requests": [DeviceRequest(device_ids=[str(spec.gpu)], capabilities=[["gpu"]])]}


def mounts(spec: ServerSpec, models: Path) -> list[Mount]:
    """The models' folder, and the code for all of them, as the platform shows them: to be read only."""
    from docker.types import Mount

    shown = {routes.MODELS_FOLDER: models} | ({} if spec.code is None else {_CODE_FOLDER: Path(spec.code).absolute()})
    return [Mount(target=target, source=str(source), type="bind", read_only=True) for target, source in shown.items()]


def folders_to_send(spec: ServerSpec) -> dict[str, Path]:
    """What an engine that cannot see this machine's files is sent before the container starts."""
    return {} if spec.code is None else {_CODE_FOLDER: Path(spec.code).absolute()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a container has ended."""

    code: int
    out_of_memory: bool
    """Whether the kernel killed its first process for lack of memory."""
    said: str

    def __str__(self) -> str:
        if self.out_of_memory:
            return "the kernel killed the container for lack of memory: memory_mib is less than the server needs"
        said = f": {self.said}" if self.said else ""
        return f"the container ended with code {self.code}{said}"


def ended(state: Mapping[str, Any]) -> Ended | None:
    """What the engine's `State` of a container tells of its end; None while it runs or has not been started."""
    if state["Status"] not in ("exited", "dead"):
        return None
    return Ended(code=state["ExitCode"], out_of_memory=bool(state["OOMKilled"]), said=state.get("Error", ""))
