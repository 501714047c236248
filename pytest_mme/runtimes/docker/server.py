"""A container with a multi-model server."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.contract.dialects import Dialect
from pytest_mme.errors import NoAnswerError, UnavailableError
from pytest_mme.runtimes.base import STOP_S, Interceptable
from pytest_mme.runtimes.docker import addresses, creation
from pytest_mme.runtimes.docker.container import ObservedContainer, Recording
from pytest_mme.runtimes.docker.container_leases import labels, promise_container, remove
from pytest_mme.runtimes.docker.copying import send
from pytest_mme.runtimes.docker.engine import first_line
from pytest_mme.runtimes.docker.signals import exhaust_memory, send_signal
from pytest_mme.runtimes.docker.start_errors import refused
from pytest_mme.runtimes.event_reader import EventReader
from pytest_mme.runtimes.permissions import let_others_read
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

_TEAR_DOWN_S = 5.0  # the test is over: requests in flight are cut off

Create = Callable[[], tuple["Container", bool]]


class DockerServer(Interceptable):
    """A container, from before it is created until it is removed; or the use of one that others use, too."""

    dialect: Dialect
    stopped = False

    def __init__(
        self,
        name: str,
        directory: Path,
        timeline: Timeline,
        engine: docker.DockerClient,
        image: Image,
        spec: ServerSpec,
    ) -> None:
        self.name, self._timeline, self._engine, self._image, self._spec = name, timeline, engine, image, spec
        self.models, self._directory = directory / "models", directory
        self.facts: Mapping[str, Any] = {}
        self._placed: set[str] = set()
        self._shared = False
        is_embedded = image.labels.get(creation.EVENTS_LABEL) == creation.EVENTS_ON_STDOUT
        self._events = EventReader(timeline, name, is_mine=self._is_mine) if is_embedded else None
        self._undo = contextlib.ExitStack()

    @property
    def controls(self) -> DockerServer:
        """This server itself: its container is the kit's own."""
        return self

    def start(self, known_bytes: Mapping[str, int], *, device: str, run: Path) -> None:
        """Create the container, start it and wait until it is ready; raises `ServerStartError`, `UnavailableError`."""
        began = time.monotonic()
        self.models.mkdir()
        self.models.chmod(0o755)  # the container's user is another
        self.container_name = f"mme-{run.name}-{self.name}-{uuid.uuid4().hex[:6]}"
        promise_container(run, self.container_name)
        is_embedded, spec = self._events is not None, self._spec
        if spec.op_libraries and not is_embedded:
            raise UnavailableError(
                "op_libraries of a server that is not the embedded one",
                f"the image is {(*self._image.tags, self._image.id)[0]}",
                "build an image whose own server loads them",
            )
        self._create: Create = functools.partial(
            creation.create,
            self._engine,
            self._image,
            spec,
            self.models,
            name=self.container_name,
            labels=labels(run),
            ports={f"{creation.PORT}/tcp": (addresses.published_at(self._engine), None)},
            environment=creation.environment(spec, self.name, known_bytes, device=device, is_embedded=is_embedded),
            **creation.limits(spec, is_embedded=is_embedded),
            **creation.devices(spec, device),
        )
        self._live()
        self._timeline.record("start", source="engine", server=self.name, seconds=time.monotonic() - began)

    def _live(self) -> None:
        """Create a container, start it and wait until it is ready."""
        from docker.errors import APIError

        self._undo.callback(remove, self._engine, self.container_name)  # also a container that never becomes ready
        try:
            self._container, self._mounted = self._create()
        except APIError as error:
            raise refused(self.name, error, "") from error
        self._listen("server.log")
        self._observed.start()
        self._use()
        self._observed.await_facts()
        self.facts = self._events.facts if self._events else {}

    def _listen(self, log: str) -> None:
        self._log_path = self._directory / log
        self._log_path.touch()
        recording = Recording(
            server=self.name,
            timeline=self._timeline,
            log=self._log_path,
            events=self._events,
            shared=self._shared,
        )
        self._observed = ObservedContainer(self._engine, self._container, recording)
        self._undo.callback(self._observed.close)

    def _use(self) -> None:
        self.direct = self._observed.await_ready(within_s=self._spec.start_s)
        self.dialect = self._observed.dialect
        self._undo.callback(self._end)

    def leave_running(self) -> dict[str, Any]:
        """Stop observing the container, let it run on, and return what others need for `use_running`."""
        self._undo.pop_all()
        self._observed.close()
        ahead_s = self._events.ahead_s if self._events else 0.0
        return {
            "container": self.container_name,
            "directory": str(self._directory),
            "facts": dict(self.facts),
            "mounted": self._mounted,
            "ahead_s": ahead_s,
        }

    def use_running(self, shared: Mapping[str, Any]) -> None:
        """Use a container that `leave_running` left, together with others; raises `ServerStartError` when it has ended."""
        from docker.errors import APIError

        self._shared = True
        self.container_name, self.facts, self._mounted = shared["container"], shared["facts"], shared["mounted"]
        if self._events:
            self._events.ahead_s = shared["ahead_s"]
        try:
            self._container = self._engine.containers.get(self.container_name)
        except APIError as error:
            raise refused(self.name, error, "") from error
        self._listen(f"{self.name}-{uuid.uuid4().hex[:6]}.log")
        self._use()

    def gone(self) -> str | None:
        """How the container has ended; None while it runs."""
        return self._observed.gone()

    def place(self, folder: Path) -> str:
        """Return the folder's path in the container; send it there where the engine does not see this machine's files."""
        target = str(PurePosixPath(routes.MODELS_FOLDER, folder.relative_to(self.models).as_posix()))
        self._placed.add(folder.relative_to(self.models).parts[0])
        let_others_read(folder, below=self.models)
        if not self._mounted:
            send(self._container, folder, target)
        return target

    def log(self) -> str:
        """Standard output and error of the container."""
        return self._log_path.read_text(errors="replace")

    def used_bytes(self) -> int:
        """The memory that is charged to the container, less page cache; with ``oom="tensorflow"`` TensorFlow's own."""
        if self._events and self._spec.oom == "tensorflow":
            return int(self.direct.memory().json()["used_bytes"])
        return self._observed.probe.used_bytes()

    def catch_up(self) -> None:
        """Return when everything that the server, the kernel and the engine have reported until now is on the timeline."""
        if self._events:
            self._events.catch_up(self.direct)
        self._observed.watch.catch_up()

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal to the process of a model, from within the container; `Controls.signal`."""
        send_signal(self._container, identifier, name, process=self._pid(identifier))

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use memory in the container until the kernel has killed a model's process; `Controls.exhaust_memory`."""
        exhaust_memory(self._container, identifier, most_mib, process=self._pid(identifier))

    def _pid(self, identifier: str) -> int | None:
        """The process of a model, where the server reports it."""
        return self._events.pid(identifier, self.direct) if self._events else None

    def _is_mine(self, identifier: str) -> bool:
        """Whether this test placed the model: a shared server has those of others, too."""
        return not self._shared or identifier in self._placed

    def _refuse_when_shared(self, what: str) -> None:
        if self._shared:
            raise UnavailableError(f"{what} of a server with share='run'", "others use it, too", "use share='private'")

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the container's limit, with that of swap, and return the previous one; 0 is no limit, as for the engine."""
        from docker.errors import APIError

        self._refuse_when_shared("another memory limit")
        before = int(self._container.attrs["HostConfig"]["Memory"])
        limit = limit_bytes or creation.NO_LIMIT
        try:
            self._container.update(mem_limit=limit, memswap_limit=limit)
            self._container.reload()
        except APIError as error:
            asked = f"a memory limit of {limit_bytes} bytes"
            raise UnavailableError(asked, first_line(error), "leave it more than it uses, while it runs") from error
        return before

    def stop(self, grace_s: float = STOP_S) -> float:
        """Send SIGTERM, and SIGKILL after *grace_s* seconds, as the platform does; return how many seconds it took."""
        from docker.errors import APIError

        self._refuse_when_shared("the end")
        self._observed.watch.expect_end()
        began = time.monotonic()
        with contextlib.closing(self._observed):
            try:
                self._container.stop(timeout=math.ceil(grace_s))
            except APIError as error:
                raise UnavailableError(f"the end of {self.name}", first_line(error), "see what else ends it") from error
            seconds, ended = time.monotonic() - began, creation.ended(self._container)
        self.stopped = True
        outcome = "ok" if ended is None or ended.code == 0 else f"exit {ended.code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        return seconds

    def start_again(self) -> None:
        """Start a new container in its place, as the platform does; `direct` is another client then.

        In the old one multi-model-server might take its own pid file for that of a server that runs.
        """
        began = time.monotonic()
        self._undo.close()
        self._live()
        self.stopped = False
        self._timeline.record("restart", source="engine", server=self.name, seconds=time.monotonic() - began)

    def close(self) -> None:
        """End the container and remove it; in a shared one unload this test's models. Closing twice is fine."""
        self._undo.close()

    def _end(self) -> None:
        if not self._shared:
            if self.gone() is None:
                self.stop(_TEAR_DOWN_S)
            return
        with contextlib.suppress(NoAnswerError):  # it has ended
            for placed in self._placed:
                self.direct.unload(placed)
        for placed in self._placed:
            shutil.rmtree(self.models / placed, ignore_errors=True)
