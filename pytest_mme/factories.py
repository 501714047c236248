"""The types of the fixtures that make something, for annotations in tests; an editor completes their keywords.

from pytest_mme import EndpointFactory, Models

def test_ranking(mme_endpoint: EndpointFactory, mme_models: Models) -> None:
    endpoint = mme_endpoint(mme_models.fleet(3), fits=2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from typing_extensions import Unpack

    from pytest_mme.faults.faults import Faults
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.hosting.eviction import Policy
    from pytest_mme.models.builder import Model
    from pytest_mme.runtimes.server import Server
    from pytest_mme.runtimes.spec import Admission, Device, MemoryWatch, Sharing
    from pytest_mme.traffic.traffic import Traffic


class ServerFields(TypedDict, total=False):
    """The keyword arguments of `mme_server`: the fields of `ServerSpec`, which describes them (a test compares them)."""

    memory_mib: float | None
    admission: Admission
    oom: MemoryWatch
    cpus: int | None
    drain_s: float
    grace_s: float
    code: Path | str | None
    handler_requests: int | None
    tf: str | None
    op_libraries: Sequence[Path | str]
    share: Sharing
    image: str | None
    env: Mapping[str, str]
    start_s: float
    device: Device | None
    gpu: int
    gpu_memory_fraction: float | None


class EndpointFields(ServerFields, total=False):
    """The keyword arguments of `mme_endpoint`, besides `fits`: the fields of `ServerSpec` and `EndpointSpec`."""

    name: str | None
    eviction: str | Policy
    prefix: str | None
    ready_s: float
    invoke_s: float


class ServerFactory(Protocol):
    """The type of the fixture `mme_server`."""

    def __call__(self, **fields: Unpack[ServerFields]) -> Server:
        """Start a server; *fields* as in `ServerSpec`."""


class HandlerFactory(Protocol):
    """The type of the fixture `mme_handler`."""

    def __call__(
        self, module: Path | str | ModuleType, models: Sequence[Model], **fields: Unpack[ServerFields]
    ) -> Server:
        """Host the `inference_handler` of a Python file for *models*; *fields* as in `ServerSpec`."""


class EndpointFactory(Protocol):
    """The type of the fixture `mme_endpoint`."""

    def __call__(
        self, archives: Sequence[Model], *, fits: int | None = None, **fields: Unpack[EndpointFields]
    ) -> Endpoint:
        """Start an endpoint of *archives*; *fields* as in `ServerSpec` and `EndpointSpec`.

        *fits*: instead of `memory_mib`, the memory in which exactly so many of the archives are resident at once.
        """


class TrafficFactory(Protocol):
    """The type of the fixture `mme_traffic`."""

    def __call__(self, target: Server | Endpoint, /) -> Traffic:
        """Loads on a server or an endpoint."""


class FaultsFactory(Protocol):
    """The type of the fixture `mme_faults`."""

    def __call__(self, victim: Server | Endpoint, /) -> Faults:
        """The faults of a server or an endpoint."""
