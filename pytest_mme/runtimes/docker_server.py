"""One container with a multi-model server in it."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.contract.dialects import CONTRACT, Dialect, dialect_of
from pytest_mme.errors import NoAnswerError, NotReadyError, UnavailableError
from pytest_mme.events import Timeline
from pytest_mme.runtimes import addresses, containers
from pytest_mme.runtimes.base import STOP_S, ServerSpec, let_others_read
from pytest_mme.runtimes.container_leases import labels, promise_container, remove
from pytest_mme.runtimes.engine import first_line
from pytest_mme.runtimes.listening import Listener
from pytest_mme.runtimes.output import Output, end_of
from pytest_mme.runtimes.probes import probe_of
from pytest_mme.runtimes.readiness import ready_client
from pytest_mme.runtimes.refusals import not_ready, refused
from pytest_mme.runtimes.sending import send
from pytest_mme.runtimes.signals import send_signal
from pytest_mme.runtimes.watching import Sampler, Watch

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

_LOG_LINES = 20
_TEAR_DOWN_S = 5.0  # a test is over: what it left in flight is cut off


class DockerServer:
    """A container, from before it is created until it is removed."""

    def __init__(
        self, name: str, directory: Path, timeline: Timeline, engine: docker.DockerClient, image: Image
    ) -> None:
        self.name, self._timeline, self._engine, self._image = name, timeline, engine, image
        self.models = directory / "models"
        self.facts: Mapping[str, Any] = {}
        self.dialect: Dialect = CONTRACT
        self._log_path = directory / "server.log"
        self._log_path.touch()
        self._placed: set[str] = set()
        self._shared = self._mounted = False
        tells = image.labels.get(containers.EVENTS_LABEL) == containers.TELLS
        self._listener = Listener(timeline, name, mine=self._is_mine) if tells else None
        self._undo, self._life = contextlib.ExitStack(), contextlib.ExitStack()

    def start(self, spec: ServerSpec, known_bytes: Mapping[str, int], *, device: str, run: Path) -> None:
        """Create the container, start it and wait until it answers; raises `ServerStartError`, `UnavailableError`."""
        began = time.monotonic()
        self.models.mkdir()
        self.models.chmod(0o755)  # the container's user is another
        self._start_s = spec.start_s
        self.container_name = f"mme-{run.name}-{self.name}-{uuid.uuid4().hex[:6]}"
        promise_container(run, self.container_name)
        self._undo.callback(self._remove)
        self._create = functools.partial(
            containers.create,
            self._engine,
            self._image,
            spec,
            self.models,
            name=self.container_name,
            labels=labels(run),
            ports={f"{containers.PORT}/tcp": (addresses.published_at(self._engine), None)},
            environment=containers.environment(spec, self.name, known_bytes, device=device, tells=bool(self._listener)),
            **containers.limits(spec),
            **containers.devices(spec, device),
        )
        self._live()
        self._timeline.record("start", source="engine", server=self.name, seconds=time.monotonic() - began)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Why the container does not come up: `ServerStartError` or `UnavailableError`."""
        from docker.errors import APIError

        try:
            yield
        except APIError as error:
            raise refused(self.name, error, self._log_end()) from error
        except NotReadyError as error:
            raise not_ready(self.name, self._container, error, self._log_end()) from error

    def _live(self) -> None:
        """Create a container, start it and wait until it is ready."""
        with self._explained():
            self._container, self._mounted = self._create()
            self._listen()
            self._container.start()
            self._await_ready()
            if self._listener:
                self.facts = self._listener.first_words(gone=self.gone)

    def _listen(self) -> None:
        self._output = Output(self._container, self._log_path, self._listener)
        self._life.callback(self._stop_listening)

    def _stop_listening(self) -> None:
        if self.gone():
            self._output.hear_out()
        self._output.close()

    def _await_ready(self) -> None:
        self.client = ready_client(
            lambda: addresses.of(self._container, self._engine), within_s=self._start_s, gone=self.gone
        )
        self._undo.callback(self.client.close)
        self._look_on()

    def _look_on(self) -> None:
        """From now on what the kernel and the engine see is on the timeline."""
        self._probe = probe_of(self._container)
        sampler = None if self._listener else Sampler(self._probe, self._timeline, self.name)
        if sampler:
            self._life.callback(sampler.close)
        self._watch = Watch(self._engine, self._container, self._timeline, self.name, sampler=sampler)
        self._life.callback(self._watch.close)
        self.dialect = CONTRACT if self._listener else dialect_of(self.client)

    def leave(self) -> dict[str, Any]:
        """Let the container run on without us; what others need to `join` it."""
        self._life.close()
        self.client.close()
        self._undo.pop_all()
        self._shared = True
        return {"container": self.container_name, "facts": dict(self.facts), "mounted": self._mounted}

    def join(self, left: Mapping[str, Any], *, start_s: float) -> None:
        """Use a container that was left running, together with others; raises `ServerStartError` when it has ended."""
        self._shared, self._start_s = True, start_s
        self._log_path = self._log_path.with_name(f"{self.name}-{uuid.uuid4().hex[:6]}.log")
        self._log_path.touch()
        self.container_name, self.facts, self._mounted = left["container"], left["facts"], left["mounted"]
        with self._explained():
            self._container = self._engine.containers.get(self.container_name)
            self._listen()
            self._await_ready()

    def gone(self) -> str | None:
        """How the container has ended."""
        ended = containers.ended(self._container)
        return None if ended is None else str(ended)

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

    def _log_end(self) -> str:
        if hasattr(self, "_output") and self.gone():
            self._output.hear_out()  # the last lines say why
        return end_of(self._log_path, _LOG_LINES)

    def used_bytes(self) -> int:
        """What the container is charged, less page cache."""
        return self._probe.used_bytes()

    def catch_up(self) -> None:
        """Return when what the server, the kernel and the engine have told until now is on the timeline."""
        if self._listener:
            self._listener.catch_up(self.client)
        self._watch.catch_up()

    def signal(self, identifier: str, name: str) -> None:
        """Send a signal to the process of a model, from within the container; `Running.signal`."""
        known = self._listener.pid(identifier) if self._listener else None
        send_signal(self._container, identifier, name, process=known)

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
        self._refuse_when_shared("the end")
        self._watch.expect_the_end()
        began = time.monotonic()
        self._container.stop(timeout=math.ceil(grace_s))
        seconds, ended = time.monotonic() - began, containers.ended(self._container)
        outcome = "ok" if ended is None or ended.code == 0 else f"exit {ended.code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        self._life.close()
        return seconds

    def start_again(self) -> None:
        """Start another container in its place, as the platform does; `client` is another.

        In the same, multi-model-server may take what it left behind for a server that runs: a file with its pid.
        """
        began = time.monotonic()
        self._remove()
        self._live()
        self._timeline.record("restart", source="engine", server=self.name, seconds=time.monotonic() - began)

    def close(self) -> None:
        """End the container and remove it; of a shared one, take away what was brought. Closing twice is fine."""
        if self._shared:
            self._take_away()
        elif hasattr(self, "_watch") and self.gone() is None:
            self.stop(_TEAR_DOWN_S)
        self._undo.close()
        self._life.close()

    def _take_away(self) -> None:
        """Others go on with it, and the run removes it at its end."""
        with contextlib.suppress(NoAnswerError, AttributeError):  # it has ended, or never answered us
            while self._placed:
                placed = self._placed.pop()
                self.client.unload(placed)
                shutil.rmtree(self.models / placed, ignore_errors=True)

    def _remove(self) -> None:
        """By name: what was never started, or whose creation never answered, goes too."""
        remove(self._engine, self.container_name)
