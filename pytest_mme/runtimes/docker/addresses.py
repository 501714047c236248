"""The addresses at which a container can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mme.contract import routes
from pytest_mme.runtimes.docker.creation import PORT
from pytest_mme.runtimes.docker.engine import remote_host

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LOOPBACK = "127.0.0.1"


def published_at(engine: docker.DockerClient) -> str:
    """The address, on the engine's machine, to publish the port at: loopback where that is this machine."""
    return _LOOPBACK if _host(engine) in (_LOOPBACK, "localhost") else "0.0.0.0"  # noqa: S104, RUF100


def of(container: Container, engine: docker.DockerClient) -> list[str]:
    """The published port, and the container's own address, for when this process is in a container with another loopback."""
    container.reload()
    network = container.attrs["NetworkSettings"]
    published = (network["Ports"] or {}).get(f"{PORT}/tcp") or []
    found = [routes.origin(_host(engine), int(published[0]["HostPort"]))] if published else []
    if remote_host(engine):  # its containers' addresses belong to its own networks, and may be other machines' here
        return found
    inside = [one["IPAddress"] for one in network["Networks"].values() if one.get("IPAddress")]
    return found + [routes.origin(address, PORT) for address in inside]


def _host(engine: docker.DockerClient) -> str:
    return remote_host(engine) or _LOOPBACK
