"""Where a container is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mme.contract import routes
from pytest_mme.runtimes.docker.containers import PORT
from pytest_mme.runtimes.docker.engine import remote_host

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LOOPBACK = "127.0.0.1"


def published_at(engine: docker.DockerClient) -> str:
    """The address, on the engine's machine, at which the port is published: for nobody else where that is this one."""
    return _LOOPBACK if _host(engine) in (_LOOPBACK, "localhost") else "0.0.0.0"  # noqa: S104, RUF100


def of(container: Container, engine: docker.DockerClient) -> list[str]:
    """The published port, and where we live in a container ourselves, whose loopback is another: the container's."""
    container.reload()
    network = container.attrs["NetworkSettings"]
    published = (network["Ports"] or {}).get(f"{PORT}/tcp") or []
    found = [routes.origin(_host(engine), int(published[0]["HostPort"]))] if published else []
    if remote_host(engine):  # its containers' addresses are of its own networks; here they may be somebody else's
        return found
    inside = [one["IPAddress"] for one in network["Networks"].values() if one.get("IPAddress")]
    return found + [routes.origin(address, PORT) for address in inside]


def _host(engine: docker.DockerClient) -> str:
    return remote_host(engine) or _LOOPBACK
