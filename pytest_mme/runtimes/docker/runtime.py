"""The Docker runtime: any image that implements the container contract, in a container of its own."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.errors import OutdatedImageWarning
from pytest_mme.images.build import CODE
from pytest_mme.images.context import code_digest
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.docker import container_leases, sharing
from pytest_mme.runtimes.docker.engine import Pull, connect, find_image
from pytest_mme.runtimes.docker.server import DockerServer
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image


class DockerRuntime:
    """Starts containers, whose files lie below a directory of the run."""

    name = "docker"
    handler_host = None

    def __init__(
        self,
        directory: Path,
        *,
        image: Callable[[str | None], str],
        pull: Pull = "missing",
        device: str = "cpu",
        keep: bool = False,
    ) -> None:
        """*image* returns the image for the TensorFlow version that a server without an image asks for.

        *device*: where models run when the server's specification does not say. *keep*: leave each server's files
        below *directory*; otherwise they are removed with the server.
        """
        self._directory, self._image, self._pull, self._device, self._keep = directory, image, pull, device, keep
        self._images: dict[str, Image] = {}

    def close(self) -> None:
        """Close the connection to the engine."""
        if "_engine" in self.__dict__:
            self._engine.close()

    @cached_property
    def _engine(self) -> docker.DockerClient:
        engine = connect()
        container_leases.sweep(engine, leases.owner_lives)
        return engine

    def identity(self, spec: ServerSpec) -> str:
        """The image's id, and where its models run."""
        return f"docker/{self._found(spec).id}/{spec.device or self._device}"

    def _is_running(self, shared: Mapping[str, Any]) -> bool:
        from docker.errors import NotFound

        try:
            return str(self._engine.containers.get(shared["container"]).status) == "running"
        except NotFound:
            return False

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[DockerServer]:
        """Start a container, or with ``share="run"`` use the one that the run has for *spec*; `Runtime.run`."""
        image, known = self._found(spec), known_bytes or {}
        if spec.share == "run":
            place = sharing.Place(self._directory, spec, str(image.id), known)
            start = functools.partial(self._start_shared, place.name, spec, image, known)
            shared = place.record(start, lives=self._is_running)
            with closing(DockerServer(name, Path(shared["directory"]), timeline, self._engine, image, spec)) as server:
                server.use_running(shared)
                yield server
            return
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._directory))
        with contextlib.ExitStack() as undo:
            if not self._keep:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
            server = undo.enter_context(closing(DockerServer(name, directory, timeline, self._engine, image, spec)))
            server.start(known, device=self._device, run=self._directory)
            yield server

    def _found(self, spec: ServerSpec) -> Image:
        """The image of *spec*; it is looked up, and pulled, once in a run."""
        if spec.image and spec.tf:
            raise ValueError(
                f"image={spec.image!r} and tf={spec.tf!r}: an image has its own TensorFlow; give one of them"
            )
        name = spec.image or self._image(spec.tf)
        if name not in self._images:
            image = self._images[name] = find_image(self._engine, name, self._pull)
            if image.labels.get(CODE, code_digest()) != code_digest():
                warnings.warn(OutdatedImageWarning(name), stacklevel=2)
        return self._images[name]

    def _start_shared(
        self, name: str, spec: ServerSpec, image: Image, known_bytes: Mapping[str, int], directory: Path
    ) -> Mapping[str, Any]:
        """Start a container for all that share it, and return what they need to use it."""
        with closing(DockerServer(name, directory, Timeline(), self._engine, image, spec)) as server:
            server.start(known_bytes, device=self._device, run=self._directory)
            return server.leave_running()
