"""One container with a multi-model server in it."""

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
from pytest_mme.runtimes.docker import addresses, containers
from pytest_mme.runtimes.docker.container import Audience, ContainerLife
from pytest_mme.runtimes.docker.container_leases import labels, promise_container, remove
from pytest_mme.runtimes.docker.copying import send
from pytest_mme.runtimes.docker.engine import first_line
from pytest_mme.runtimes.docker.signals import exhaust_memory, send_signal
from pytest_mme.runtimes.docker.start_errors import refused
from pytest_mme.runtimes.event_reader import Listener
from pytest_mme.runtimes.permissions import let_others_read
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

_TEAR_DOWN_S = 5.0  # a test is over: what it left in flight is cut off

Create = Callable[[], tuple["Container", bool]]


class DockerServer(Interceptable):
    """A container, from before it is created until it is removed; or a part in one that others use, too."""

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
        tells = image.labels.get(containers.EVENTS_LABEL) == containers.TELLS
        self._listener = Listener(timeline, name, mine=self._is_mine) if tells else None
        self._undo = contextlib.ExitStack()

    @property
    def controls(self) -> DockerServer:
        """This server itself: its container is the kit's own."""
        return self

    def start(self, known_bytes: Mapping[str, int], *, device: str, run: Path) -> None:
        """Create the container, start it and wait until it answers; raises `ServerStartError`, `UnavailableError`."""
        began = time.monotonic()
        self.models.mkdir()
        self.models.chmod(0o755)  # the container's user is another
        self.container_name = f"mme-{run.name}-{self.name}-{uuid.uuid4().hex[:6]}"
        promise_container(run, self.container_name)
        tells, spec = self._listener is not None, self._spec
        if spec.op_libraries and not tells:
            raise UnavailableError(
                "op_libraries of a server that is not the embedded one",
                f"the image is {(*self._image.tags, self._image.id)[0]}",
                "build an image whose own server loads them",
            )
        self._create: Create = functools.partial(
            containers.create,
            self._engine,
            self._image,
            spec,
            self.models,
            name=self.container_name,
            labels=labels(run),
            ports={f"{containers.PORT}/tcp": (addresses.published_at(self._engine), None)},
            environment=containers.environment(spec, self.name, known_bytes, device=device, tells=tells),
            **containers.limits(spec, tells=tells),
            **containers.devices(spec, device),
        )
        self._live()
        self._timeline.record("start", source="engine", server=self.name, seconds=time.monotonic() - began)

    def _live(self) -> None:
        """Create a container, start it and wait until it is ready."""
        from docker.errors import APIError

        self._undo.callback(remove, self._engine, self.container_name)  # also what was created and never answered
        try:
            self._container, self._mounted = self._create()
        except APIError as error:
            raise refused(self.name, error, "") from error
        self._listen("server.log")
        self._life.start()
        self._use()
        self._life.await_first_words()
        self.facts = self._listener.facts if self._listener else {}

    def _listen(self, log: str) -> None:
        self._log_path = self._directory / log
        self._log_path.touch()
        audience = Audience(
            server=self.name,
            timeline=self._timeline,
            log=self._log_path,
            listener=self._listener,
            shared=self._shared,
        )
        self._life = ContainerLife(self._engine, self._container, audience)
        self._undo.callback(self._life.close)

    def _use(self) -> None:
        self.direct = self._life.await_ready(within_s=self._spec.start_s)
        self.dialect = self._life.dialect
        self._undo.callback(self._end)

    def leave(self) -> dict[str, Any]:
        """Let the container run on without us; what others need to `join` it."""
        self._undo.pop_all()
        self._life.close()
        ahead_s = self._listener.ahead_s if self._listener else 0.0
        return {
            "container": self.container_name,
            "directory": str(self._directory),
            "facts": dict(self.facts),
            "mounted": self._mounted,
            "ahead_s": ahead_s,
        }

    def join(self, left: Mapping[str, Any]) -> None:
        """Use a container that was left running, together with others; raises `ServerStartError` when it has ended."""
        from docker.errors import APIError

        self._shared = True
        self.container_name, self.facts, self._mounted = left["container"], left["facts"], left["mounted"]
        if self._listener:
            self._listener.ahead_s = left["ahead_s"]
        try:
            self._container = self._engine.containers.get(self.container_name)
        except APIError as error:
            raise refused(self.name, error, "") from error
        self._listen(f"{self.name}-{uuid.uuid4().hex[:6]}.log")
        self._use()

    def gone(self) -> str | None:
        """How the container has ended."""
        return self._life.gone()

    def place(self, folder: Path) -> str:
        """Where the platform puts models; sent to an engine that does not see this machine's files."""
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
        """What the container is charged, less page cache; with ``oom="tensorflow"`` what TensorFlow has allocated."""
        if self._listener and self._spec.oom == "tensorflow":
            return int(self.direct.memory().json()["used_bytes"])
        return self._life.probe.used_bytes()

    def catch_up(self) -> None:
        """Return when what the server, the kernel and the engine have told until now is on the timeline."""
        if self._listener:
            self._listener.catch_up(self.direct)
        self._life.watch.catch_up()

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal to the process of a model, from within the container; `Running.signal`."""
        send_signal(self._container, identifier, name, process=self._pid(identifier))

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use up memory in the container until the kernel has killed a model's process; `Running.exhaust_memory`."""
        exhaust_memory(self._container, identifier, most_mib, process=self._pid(identifier))

    def _pid(self, identifier: str) -> int | None:
        """Of a model's process, where the server tells it."""
        return self._listener.pid(identifier, self.direct) if self._listener else None

    def _is_mine(self, identifier: str) -> bool:
        """Of a shared server each has a part: the models that it has placed there."""
        return not self._shared or identifier in self._placed

    def _refuse_when_shared(self, what: str) -> None:
        if self._shared:
            raise UnavailableError(f"{what} of a server with share='run'", "others use it, too", "use share='private'")

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the container's limit, and swap's with it; the one before. 0: none, as the engine says it."""
        from docker.errors import APIError

        self._refuse_when_shared("another memory limit")
        before = int(self._container.attrs["HostConfig"]["Memory"])
        limit = limit_bytes or containers.NO_LIMIT
        try:
            self._container.update(mem_limit=limit, memswap_limit=limit)
            self._container.reload()
        except APIError as error:
            asked = f"a memory limit of {limit_bytes} bytes"
            raise UnavailableError(asked, first_line(error), "leave it more than it uses, while it runs") from error
        return before

    def stop(self, grace_s: float = STOP_S) -> float:
        """SIGTERM, and after *grace_s* seconds SIGKILL, as the platform does; how many seconds it took."""
        from docker.errors import APIError

        self._refuse_when_shared("the end")
        self._life.watch.expect_the_end()
        began = time.monotonic()
        with contextlib.closing(self._life):
            try:
                self._container.stop(timeout=math.ceil(grace_s))
            except APIError as error:
                raise UnavailableError(f"the end of {self.name}", first_line(error), "see what else ends it") from error
            seconds, ended = time.monotonic() - began, containers.ended(self._container)
        self.stopped = True
        outcome = "ok" if ended is None or ended.code == 0 else f"exit {ended.code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        return seconds

    def start_again(self) -> None:
        """Start another container in its place, as the platform does; `direct` is another.

        In the same, multi-model-server may take what it left behind for a server that runs: a file with its pid.
        """
        began = time.monotonic()
        self._undo.close()
        self._live()
        self.stopped = False
        self._timeline.record("restart", source="engine", server=self.name, seconds=time.monotonic() - began)

    def close(self) -> None:
        """End the container and remove it; of a shared one, take away what was brought. Closing twice is fine."""
        self._undo.close()

    def _end(self) -> None:
        if self._shared:
            self._take_away()
        elif self.gone() is None:
            self.stop(_TEAR_DOWN_S)

    def _take_away(self) -> None:
        """Others go on with it, and the run removes it at its end."""
        with contextlib.suppress(NoAnswerError):  # it has ended
            for placed in self._placed:
                self.direct.unload(placed)
        for placed in self._placed:
            shutil.rmtree(self.models / placed, ignore_errors=True)
