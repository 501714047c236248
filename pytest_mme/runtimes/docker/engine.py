"""The container engine: a connection to it, or why there is none; its images, pulled where that is asked for."""

from __future__ import annotations

import contextlib
import os
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pytest_mme.contract import routes
from pytest_mme.errors import UnavailableError, why_unreachable
from pytest_mme.extras import needs

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image
    from docker.types import CancellableStream

Pull = Literal["never", "missing", "always"]

_ANSWERS_S = 10
_REPLY_S = 120  # an engine that is busy building is slow to create a container
_OWN = "pytest-mme-"
_BY_DEFAULT = "unix:///var/run/docker.sock"  # the SDK's own default


def connect() -> docker.DockerClient:
    """The engine that `DOCKER_HOST`, or else the system, names.

    Raises `UnavailableError` when it does not answer, or its Python package is not installed.
    """
    with needs("docker", "a container engine"):
        import docker
        import docker.errors
    import requests.exceptions

    try:
        engine = docker.from_env(timeout=_ANSWERS_S)
        engine.ping()
        engine.api.timeout = _REPLY_S
    except (docker.errors.DockerException, requests.exceptions.RequestException, ValueError) as error:
        _close_sockets(error)
        seen = f"{os.environ.get('DOCKER_HOST') or _BY_DEFAULT}: {why_unreachable(error)}"
        raise UnavailableError("a container engine", seen, _advice(str(error))) from error
    return engine


def _close_sockets(error: BaseException | None) -> None:
    """The SDK leaves a socket that it could not connect to the garbage collector, which warns in a later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        while error:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__


def _advice(seen: str) -> str:
    if "Permission denied" in seen or "PermissionError" in seen:
        return "this user may not use the engine: join the group docker, or point DOCKER_HOST at a rootless engine"
    return "start Docker, or point DOCKER_HOST at an engine; without one, use --mme-runtime=local"


def first_line(error: Exception) -> str:
    """The message of an engine's error, on one line."""
    message = getattr(error, "explanation", None) or str(error) or type(error).__name__  # APIError has the former
    return str(message).splitlines()[0][:500]


def remote_host(engine: docker.DockerClient) -> str | None:
    """The host of an engine that is reached over the network; None for one on this machine."""
    address = urlsplit(str(engine.api.base_url))
    if address.hostname == "ssh":  # the SDK's word for a tunnel
        address = urlsplit(os.environ.get("DOCKER_HOST", ""))
    elif address.scheme not in ("http", "https"):
        return None
    return address.hostname


def close_stream(stream: CancellableStream[Any]) -> None:
    """End a stream of the engine's replies and close its connection, which the SDK leaves to the garbage collector."""
    from docker.errors import DockerException

    with contextlib.suppress(OSError, DockerException):  # the engine has closed it before; over ssh the SDK refuses to
        stream.close()
    stream._response.close()  # type: ignore[attr-defined]  # noqa: SLF001  nothing public closes it


def find_image(engine: docker.DockerClient, name: str, pull: Pull) -> Image:
    """The image called *name*, pulled as *pull* allows; raises `UnavailableError` when it is missing or unusable.

    SageMaker creates multi-model endpoints only with images that have the label of AWS's contract.
    """
    image = _find(engine, name, pull)
    label, value = next(iter(routes.LABELS.items()))
    if image.labels.get(label) != value:
        raise UnavailableError(
            f"a multi-model server from the image {name}",
            f"its label {label} is {image.labels.get(label)!r}; SageMaker asks for {value!r}",
            f"add to its Dockerfile: LABEL {label}={value}",
        )
    return image


def _find(engine: docker.DockerClient, name: str, pull: Pull) -> Image:
    from docker.errors import APIError, ImageNotFound

    try:
        if pull != "always" or name.startswith(_OWN):  # no registry has our own
            with contextlib.suppress(ImageNotFound):
                return engine.images.get(name)
        if pull == "never" or name.startswith(_OWN):
            raise ImageNotFound("the engine does not have it")
        return engine.images.pull(name)
    except APIError as error:
        raise UnavailableError(f"the image {name}", first_line(error), _how_to_get(name, pull)) from error


def _how_to_get(name: str, pull: Pull) -> str:
    if name.startswith(_OWN):
        image, _, version = name.removeprefix(_OWN).partition(":")
        return f"build it: pytest-mme image build {image}" + (f" --tf {version}" if version else "")
    if pull == "never":
        return "fetch it yourself, or let --mme-pull=missing do it"
    return "check its name, log in to its registry (docker login), or load it with docker load"
