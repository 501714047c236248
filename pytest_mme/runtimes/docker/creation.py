"""What a container is created with: the platform's environment and mounts, the limits; and how it has ended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.runtimes.docker.copying import send, send_file
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.serving import container as embedded

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image
    from docker.types import Mount

PORT = 8080
EVENTS_LABEL = "pytest-mme.events"
EVENTS_ON_STDOUT = "stdout"
"""The label's value for an embedded server, which prints its events there and takes the kit's own settings."""

_CODE_FOLDER = "/opt/ml/code"
_OPS_FOLDER = "/opt/ml/ops"
NO_LIMIT = 2**62
"""In bytes. 0 would mean to leave the limit as it is."""
_PORTS = "25000-25999"  # what containers of real endpoints see
_MIB = 1024 * 1024
_NANO = 10**9
_KILLED = 137
_UNSEEN_MOUNT = "bind source path does not exist"


def environment(
    spec: ServerSpec, server: str, known_bytes: Mapping[str, int], *, device: str, is_embedded: bool
) -> dict[str, str]:
    """What the platform sets, the settings of an embedded server, and the user's own variables, which win."""
    platform = {
        routes.MULTI_MODEL: "true",
        routes.BIND_TO_PORT: str(PORT),
        routes.SAFE_PORT_RANGE: _PORTS,
        "AWS_REGION": "us-east-1",
    }
    if not is_embedded:
        return platform | dict(spec.env)
    same = ("admission", "oom", "cpus", "drain_s", "grace_s", "handler_requests", "gpu_memory_fraction")
    settings: dict[str, Any] = {name: getattr(spec, name) for name in same}
    settings |= {"name": server, "known_bytes": dict(known_bytes), "device": spec.device or device}
    settings["op_libraries"] = [_op_library(number, library) for number, library in enumerate(spec.op_libraries)]
    if spec.oom == "tensorflow" and spec.memory_mib is not None:
        settings["memory_bytes"] = int(spec.memory_mib * _MIB)
    return platform | {embedded.EVENTS: "stdout", embedded.SETTINGS: json.dumps(settings)} | dict(spec.env)


def limits(spec: ServerSpec, *, is_embedded: bool) -> dict[str, Any]:
    """The limits of memory, with swap set to the same, and of CPUs.

    With ``oom="tensorflow"`` an embedded server gives the limit to TensorFlow, and the container has none.
    """
    found: dict[str, Any] = {}
    if spec.memory_mib is not None and not (is_embedded and spec.oom == "tensorflow"):
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


def mount(models: Path) -> Mount:
    """The models' folder, mounted where the platform mounts it, read-only."""
    from docker.types import Mount

    return Mount(target=routes.MODELS_FOLDER, source=str(models), type="bind", read_only=True)


def create(
    engine: docker.DockerClient, image: Image, spec: ServerSpec, models: Path, **options: Any
) -> tuple[Container, bool]:
    """Create a container; also returns whether the folder of *models* could be mounted, read-only.

    An engine that does not see this machine's files refuses the mount. The code is copied in any case: its folder is
    the user's own, and the container's user might not be allowed to read it.
    """
    from docker.errors import APIError

    options |= {"command": ["serve"], "healthcheck": {"test": ["NONE"]}}  # the kit asks by itself
    mounted = True
    try:
        created = engine.containers.create(image, mounts=[mount(models)], **options)
    except APIError as error:
        if _UNSEEN_MOUNT not in str(error):
            raise
        created, mounted = engine.containers.create(image, **options), False
    if spec.code is not None:
        send(created, Path(spec.code), _CODE_FOLDER)
    for number, library in enumerate(spec.op_libraries):
        send_file(created, Path(library), _op_library(number, library))
    return created, mounted


def _op_library(number: int, library: Path | str) -> str:
    """The path of an op library in the container."""
    return f"{_OPS_FOLDER}/{number}/{Path(library).name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a container has ended."""

    code: int | None
    """None: it has been removed."""
    out_of_memory: bool
    """Whether the kernel killed one of its processes for lack of memory, whichever and whenever."""
    error: str
    """The engine's own message; empty when there is none."""

    @property
    def killed_for_memory(self) -> bool:
        """Whether the kernel killed its first process, and with it the container."""
        return self.out_of_memory and self.code == _KILLED

    def __str__(self) -> str:
        if self.code is None:
            return "the container was removed"
        if self.killed_for_memory:
            return "the kernel killed the container for lack of memory"
        after = " after the kernel killed a process in it for lack of memory" if self.out_of_memory else ""
        error = f": {self.error}" if self.error else ""
        return f"the container ended with code {self.code}{after}{error}"


def ended(container: Container) -> Ended | None:
    """How a container has ended, as the engine reports it now; None while it runs or has not been started."""
    from docker.errors import NotFound

    try:
        container.reload()
    except NotFound:
        return Ended(code=None, out_of_memory=False, error="")
    state = container.attrs["State"]
    if state["Status"] == "removing":
        return Ended(code=None, out_of_memory=False, error="")
    if state["Status"] not in ("exited", "dead"):
        return None
    return Ended(code=state["ExitCode"], out_of_memory=bool(state["OOMKilled"]), error=state.get("Error", ""))
