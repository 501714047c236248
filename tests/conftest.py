"""What a machine may lack: models that others made, a container engine, the project's images."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Callable, Iterator

import docker
import pytest

from pytest_mme import Run, Settings, versions
from pytest_mme.errors import UnavailableError
from pytest_mme.images.build import tag
from pytest_mme.runtimes.docker.engine import connect, find_image
from tests.foreign.models import ForeignModels
from tests.lacking import lacking

SERVER = tag("server", versions.installed())
MMS = tag("mms", versions.installed())
IMAGES = [pytest.param(name, marks=pytest.mark.containers) for name in ("server", "mms")]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs a container engine."""
    if "engine" in getattr(item, "fixturenames", ()):
        item.add_marker("containers")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs a container engine: it takes long, and others wait for the last tests of a run."""
    items.sort(key=lambda item: item.get_closest_marker("containers") is None)


@pytest.fixture(scope="session")
def foreign(mme_settings: Settings) -> ForeignModels:
    """Models that the kit did not make, by name."""
    return ForeignModels(mme_settings.cache.value)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The container engine."""
    try:
        client = connect()
    except UnavailableError as error:
        lacking(f"{error.asked} cannot be had here: {error.seen}; {error.advice}")
    with contextlib.closing(client):
        yield client


@pytest.fixture(scope="session")
def server_image(engine: docker.DockerClient) -> str:
    """The embedded server's image."""
    return _found(engine, SERVER)


@pytest.fixture(scope="session")
def mms_image(engine: docker.DockerClient) -> str:
    """multi-model-server's image."""
    return _found(engine, MMS)


def _found(engine: docker.DockerClient, name: str) -> str:
    try:
        find_image(engine, name, "never")
    except UnavailableError as error:
        lacking(f"{error.asked} cannot be had here: {error.seen}; {error.advice}")
    return name


@pytest.fixture(scope="session")
def derived(engine: docker.DockerClient, server_image: str) -> Iterator[Callable[..., str]]:
    """Makes an image, of the embedded server's, by more lines of a Dockerfile; its name. All go with the session."""
    names: dict[tuple[str, ...], str] = {}
    with contextlib.ExitStack() as undo:

        def derive(*lines: str, base: str = server_image) -> str:
            written = (f"FROM {base}", *lines)
            if written not in names:
                name = f"mme-test:{uuid.uuid4().hex[:12]}"
                engine.images.build(fileobj=io.BytesIO("\n".join(written).encode()), tag=name, rm=True)
                undo.callback(engine.images.remove, name, force=True)
                names[written] = name
            return names[written]

        yield derive


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """Each of the project's images."""
    name: str = request.getfixturevalue(f"{request.param}_image")
    return name


@pytest.fixture
def docker_run(server_image: str) -> Iterator[Run]:
    """A run of the kit on the container runtime, with the embedded server's image."""
    with run_on(server_image) as run:
        yield run


@pytest.fixture
def mms_run(mms_image: str) -> Iterator[Run]:
    """A run of the kit on the container runtime, with multi-model-server's image."""
    with run_on(mms_image) as run:
        yield run


@pytest.fixture
def image_run(image: str) -> Iterator[Run]:
    """A run of the kit on the container runtime, with each of the project's images."""
    with run_on(image) as run:
        yield run


@pytest.fixture(params=["local", *IMAGES])
def any_run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """A run of the kit on each runtime that starts servers."""
    image = None if request.param == "local" else request.getfixturevalue(f"{request.param}_image")
    with run_on(image) as run:
        yield run


def run_on(image: str | None) -> Run:
    """A run with that image, or where there is none on the local runtime."""
    chosen = {} if image is None else {"PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": image}
    return Run(Settings.resolve(environment={**os.environ, **chosen}))
