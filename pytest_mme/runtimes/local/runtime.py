"""The local runtime: the embedded server in a process of its own, no Docker."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.runtimes.leases import CGROUPS
from pytest_mme.runtimes.local.server import LocalServer
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

_MIB = 1024 * 1024
_SAME_FIELDS = (*("admission", "oom", "cpus", "gpu", "gpu_memory_fraction", "drain_s", "grace_s", "handler_requests"),)
"""The fields of `ServerSpec` that `ServingConfig` has, too."""
MODEL_DIR = "SM_MODEL_DIR"
"""Names the folder with the models to the user's code. Source: the SageMaker inference toolkit's parameters."""


class LocalRuntime:
    """Starts embedded servers below a directory of the run."""

    name = "local"

    def __init__(
        self,
        directory: Path,
        *,
        version_cache: VersionCache,
        enforcement: str = "auto",
        device: str = "cpu",
        keep: bool = False,
    ) -> None:
        """*version_cache*: provides the TensorFlow versions. *device*: where models run when the specification does not say.

        *keep*: leave each server's files below *directory*; otherwise they are removed with the server.
        """
        self._directory, self._version_cache = directory, version_cache
        self._enforcement, self._device, self._keep = enforcement, device, keep

    @property
    def handler_host(self) -> LocalRuntime:
        """This runtime itself."""
        return self

    def identity(self, spec: ServerSpec) -> str:
        """The TensorFlow version, how its memory is limited, and where it runs."""
        tensorflow = self._version_cache.resolve(spec.tf)
        return f"local/tensorflow-{tensorflow}/{self._enforcement}/{spec.device or self._device}"

    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> AbstractContextManager[LocalServer]:
        """Start an embedded server; `Runtime.run`."""
        return self._run(spec, name, timeline, known_bytes=known_bytes or {})

    def host(
        self,
        inference: Path,
        place: Callable[[Path], Sequence[str]],
        spec: ServerSpec,
        *,
        name: str,
        timeline: Timeline,
    ) -> AbstractContextManager[LocalServer]:
        """Start a server around an `inference_handler`; `HandlerHost.host`."""
        return self._run(spec, name, timeline, place=place, inference=str(inference))

    @contextlib.contextmanager
    def _run(
        self,
        spec: ServerSpec,
        name: str,
        timeline: Timeline,
        *,
        place: Callable[[Path], Sequence[str]] = lambda _: (),
        **more: Any,
    ) -> Iterator[LocalServer]:
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._directory))
        fields = {
            **{field: getattr(spec, field) for field in _SAME_FIELDS},
            "name": name,
            "memory_bytes": None if spec.memory_mib is None else int(spec.memory_mib * _MIB),
            "enforcement": self._enforcement,
            "device": spec.device or self._device,
            "code": None if spec.code is None else str(Path(spec.code).absolute()),
            "op_libraries": [str(Path(library).absolute()) for library in spec.op_libraries],
            "tensorflow": str(self._version_cache.directory(spec.tf)),
            "cgroup_name": f"pytest-mme-{self._directory.name}-{directory.name}",
            "cgroup_record": str(self._directory / CGROUPS),
            **more,
        }
        with contextlib.ExitStack() as undo:
            if not self._keep:
                undo.callback(shutil.rmtree, directory, ignore_errors=True)
            server = LocalServer(name, directory, timeline)
            undo.callback(server.close)
            named = tuple(place(server.models))
            environment = {MODEL_DIR: str(server.models), **spec.env} if named else spec.env
            server.start({**fields, "named": named}, env=environment, start_s=spec.start_s)
            yield server
