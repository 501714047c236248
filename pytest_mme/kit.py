"""A run of the kit: what its servers and endpoints share. The fixtures hold one; without pytest use `with Run()`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_mme.archives.archive import extract
from pytest_mme.archives.store import Store
from pytest_mme.aws.clients import Aws, simulated_aws
from pytest_mme.errors import UnavailableError
from pytest_mme.faults.faults import Faults
from pytest_mme.faults.lasting import undone
from pytest_mme.hosting.endpoint import Endpoint, hosted
from pytest_mme.hosting.spec import EndpointSpec, check_archives
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.measuring.fits import Measurements
from pytest_mme.measuring.recording import Recorder
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.exporting.environments import Exporters
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.attach.runtime import AttachRuntime
from pytest_mme.runtimes.base import Runtime
from pytest_mme.runtimes.local.runtime import LocalRuntime
from pytest_mme.runtimes.server import Server
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.serving.memory import gpu
from pytest_mme.settings import Settings
from pytest_mme.timeline.events import Timeline
from pytest_mme.traffic.traffic import Traffic

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pytest_mme.factories import EndpointFields, ServerFields


class Run:
    """A context manager; everything made with it ends with it."""

    def __init__(self, settings: Settings | None = None, *, directory: Path | None = None) -> None:
        """*directory*: that of the run of another process, which an xdist worker joins; None: a run of its own."""
        self.settings = settings or Settings.resolve(environment=os.environ)
        self._given_directory = directory
        self._undo = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self._aws_users, self._aws_undo = 0, contextlib.ExitStack()

    def __enter__(self) -> Run:  # noqa: PYI034  typing.Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was made with this run. Closing twice is fine."""
        self._undo.close()

    @cached_property
    def directory(self) -> Path:
        """The directory in which the run keeps its files."""
        if self._given_directory is not None:
            return self._given_directory
        return leases.own_directory(self._undo.callback, keep=self.settings.keep.value).path

    @cached_property
    def models(self) -> Models:
        """Builds models, and keeps them in the cache."""
        store = Store(self.settings.cache.value / "models", cap_mib=self.settings.cache_mib.value)
        exporters = Exporters(self.settings.cache.value, self.version_cache)
        recorder = Recorder(self._local_runtime)
        return self._undo.enter_context(Models(store, self.directory, exporters, recorder))

    @cached_property
    def runtime(self) -> Runtime:
        """Starts servers: locally, in containers, or by attaching to one, as the settings say."""
        keep = self.settings.keep.value != "never"
        if self.settings.runtime.value == "attach":
            return AttachRuntime(self.settings.url.value or "", self.settings.url_models.value, self.directory)
        if self.settings.runtime.value == "docker":
            from pytest_mme.runtimes.docker.runtime import DockerRuntime

            device = gpu.settle(self.settings.device.value)
            pull = self.settings.pull.value
            docker = DockerRuntime(self.directory, image=self._image, pull=pull, device=device, keep=keep)
            self._undo.callback(docker.close)
            return docker
        return self._local_runtime()

    def _local_runtime(self) -> LocalRuntime:
        """Starts embedded servers, as the settings say."""
        return LocalRuntime(
            self.directory,
            version_cache=self.version_cache,
            enforcement=self.settings.enforcement.value,
            device=gpu.settle(self.settings.device.value),
            keep=self.settings.keep.value != "never",
        )

    @cached_property
    def version_cache(self) -> VersionCache:
        """The TensorFlow versions that servers can be started with."""
        return VersionCache.of(self.settings)

    def tensorflow(self, asked: str | None) -> str | None:
        """The exact version that is *asked* for, or else `versions.default`; None where a container has its own."""
        if asked is None and self.settings.runtime.value != "local":
            return None
        return self.version_cache.resolve(asked)

    def _image(self, tf: str | None) -> str:
        """The image of a container whose specification has none, for the TensorFlow version *tf*."""
        from pytest_mme.images.build import default_image, tag

        chosen = self.settings.image.value
        if tf is None:
            return chosen or default_image()
        if chosen:
            seen = f"the image is {chosen} ({self.settings.image.source}), and has its own"
            raise UnavailableError(f"TensorFlow {tf}", seen, "choose one: the image, or the version")
        return tag("server", self.version_cache.resolve(tf))

    @contextlib.contextmanager
    def server(
        self, *, name: str | None = None, timeline: Timeline | None = None, **fields: Unpack[ServerFields]
    ) -> Iterator[Server]:
        """A server at the level of the container contract; *fields* as in `ServerSpec`."""
        timeline = Timeline() if timeline is None else timeline
        (spec,) = split(fields, ServerSpec)
        name = name or f"server-{next(self._numbers)}"
        with self.runtime.run(spec, name=name, timeline=timeline) as running:
            server = Server(running, timeline)
            with undone(server):
                yield server

    @contextlib.contextmanager
    def handler(
        self,
        module: Path | str | ModuleType,
        models: Sequence[Model],
        *,
        name: str | None = None,
        timeline: Timeline | None = None,
        **fields: Unpack[ServerFields],
    ) -> Iterator[Server]:
        """A server whose models the `inference_handler(data, model_name)` of a Python file loads, in one process.

        *module*: the file, or the module that was imported from it; it is imported anew, in a process with nothing of
        the test in it. Each of *models* lies in a folder of its name, below that of ``SM_MODEL_DIR`` in the
        environment. Raises `ServerStartError` when it cannot be imported, `UnavailableError` for other runtimes than
        the local one. *fields* as in `ServerSpec`.
        """
        timeline = Timeline() if timeline is None else timeline
        (spec,) = split(fields, ServerSpec)
        host = self.runtime.handler_host
        if host is None:
            raise UnavailableError(
                "mme_handler", f"the runtime is {self.runtime.name}", "run this test with --mme-runtime=local"
            )
        file = Path(str(module.__file__)) if isinstance(module, ModuleType) else Path(module)
        if not file.is_file():
            raise ValueError(
                f"{module} is not a Python file: give one that defines inference_handler(data, model_name)"
            )
        check_archives(models)

        def place(folder: Path) -> list[str]:
            """Unpack each model into a folder of its name, and return the names."""
            for model in models:
                extract(model.archive, folder / model.name)
            return [model.name for model in models]

        name = name or f"handler-{next(self._numbers)}"
        with host.host(file.absolute(), place, spec, name=name, timeline=timeline) as running:
            server = Server(running, timeline, loaded={model.name: model for model in models})
            with undone(server):
                yield server

    def faults(self, victim: Server | Endpoint) -> Faults:
        """The faults of a server or an endpoint."""
        return Faults(victim, seed=self.settings.seed.value)

    @staticmethod
    def traffic(target: Server | Endpoint) -> Traffic:
        """Loads on a server or an endpoint."""
        return Traffic(target)

    @contextlib.contextmanager
    def aws(self) -> Iterator[Aws]:
        """AWS: S3, SageMaker and CloudWatch simulated by moto, SageMaker Runtime by the kit.

        There is one at a time: a block that begins while another lasts has the same, until the last of them has ended.
        """
        if not self._aws_users:
            self._aws = self._aws_undo.enter_context(simulated_aws())
        self._aws_users += 1
        try:
            yield self._aws
        finally:
            self._aws_users -= 1
            if not self._aws_users:
                self._aws_undo.close()

    @contextlib.contextmanager
    def endpoint(
        self,
        models: Sequence[Model],
        *,
        aws: Aws,
        fits: int | None = None,
        timeline: Timeline | None = None,
        **fields: Unpack[EndpointFields],
    ) -> Iterator[Endpoint]:
        """An endpoint of *models* that boto3 reaches; *fields* as in `ServerSpec` and `EndpointSpec`.

        *fits*: instead of `memory_mib`, the memory in which exactly so many of the models are resident at once.
        """
        timeline = Timeline() if timeline is None else timeline
        server_spec, endpoint_spec = split(fields, ServerSpec, EndpointSpec)
        check_archives(models)
        known: Mapping[str, int] = {}
        if fits is not None:
            if server_spec.memory_mib is not None:
                raise ValueError("give fits= or memory_mib=, not both: fits= measures the memory that memory_mib= sets")
            measurements = Measurements(self.settings.cache.value / "costs", self.runtime)
            fit = measurements.fit(fits, models, server_spec)
            server_spec, known = dataclasses.replace(server_spec, memory_mib=fit.memory_mib), fit.known_bytes
        name = endpoint_spec.name or f"endpoint-{uuid.uuid4().hex[:8]}"
        with (
            self.runtime.run(server_spec, name=name, timeline=timeline, known_bytes=known) as running,
            hosted(models, running, aws, endpoint_spec, timeline) as endpoint,
            undone(endpoint),
        ):
            yield endpoint


def split(fields: Mapping[str, object], *kinds: type[Any]) -> list[Any]:
    """One specification of each of *kinds* from keyword arguments; TypeError for one that none of them knows."""
    names = {kind: {field.name for field in dataclasses.fields(kind)} for kind in kinds}
    known = set().union(*names.values())
    if unknown := sorted(set(fields) - known):
        raise TypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [kind(**{name: value for name, value in fields.items() if name in names[kind]}) for kind in kinds]
