"""The Docker runtime: any image that speaks the container contract, in a container of its own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.events import Timeline
from pytest_mme.runtimes import container_leases, leases
from pytest_mme.runtimes.base import ServerSpec
from pytest_mme.runtimes.docker_server import DockerServer
from pytest_mme.runtimes.engine import Pull, connect, find_image

if TYPE_CHECKING:
    import docker


class DockerRuntime:
    """Starts containers, whose files lie below a directory of the run."""

    name = "docker"

    def __init__(
        self, directory: Path, *, image: str, pull: Pull = "missing", device: str = "cpu", keep: bool = False
    ) -> None:
        """*image*: for servers that name none. *device*: where models run whose server does not say it.

        *keep*: leave each server's files below *directory*; otherwise they go with the server.
        """
        self._directory, self._image, self._pull, self._device, self._keep = directory, image, pull, device, keep

    def close(self) -> None:
        """Hang up on the engine."""
        if "_engine" in self.__dict__:
            self._engine.close()

    @cached_property
    def _engine(self) -> docker.DockerClient:
        engine = connect()
        container_leases.sweep(engine, leases.owner_lives)
        return engine

    def identity(self, spec: ServerSpec) -> str:
        """Of what *spec* runs: the image's own id."""
        return f"docker/{find_image(self._engine, spec.image or self._image, self._pull).id}"

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[DockerServer]:
        """Start a container; `Runtime.run`."""
        image = find_image(self._engine, spec.image or self._image, self._pull)
        with contextlib.ExitStack() as undo:
            directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._directory))
            if not self._keep:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
            server = DockerServer(name, directory, timeline, self._engine, image)
            undo.callback(server.close)
            server.start(spec, known_bytes or {}, device=self._device, run=self._directory)
            yield server
