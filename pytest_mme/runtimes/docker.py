"""The Docker runtime: any image that speaks the container contract, in a container of its own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.events import Timeline
from pytest_mme.runtimes import container_leases, leases, sharing
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

    def _lives(self, left: Mapping[str, Any]) -> bool:
        from docker.errors import NotFound

        try:
            return str(self._engine.containers.get(left["container"]).status) == "running"
        except NotFound:
            return False

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[DockerServer]:
        """Start a container, or with ``share="run"`` use the run's for that *spec*; `Runtime.run`."""
        image = find_image(self._engine, spec.image or self._image, self._pull)
        with contextlib.ExitStack() as undo:

            def server(called: str, directory: Path, its_timeline: Timeline) -> DockerServer:
                made = DockerServer(called, directory, its_timeline, self._engine, image)
                undo.callback(made.close)
                return made

            def started(called: str, directory: Path, its_timeline: Timeline) -> DockerServer:
                made = server(called, directory, its_timeline)
                made.start(spec, known_bytes or {}, device=self._device, run=self._directory)
                return made

            if spec.share == "run":
                place = sharing.Place(self._directory, spec, str(image.id), known_bytes or {})
                left = place.record(
                    lambda directory: started(place.name, directory, Timeline()).leave(), lives=self._lives
                )
                joined = server(name, place.directory, timeline)
                joined.join(left, start_s=spec.start_s)
                yield joined
            else:
                directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._directory))
                if not self._keep:
                    undo.callback(shutil.rmtree, directory, ignore_errors=True)
                yield started(name, directory, timeline)
