"""One container with a multi-model server in it."""

from __future__ import annotations

import contextlib
import io
import tarfile
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.dialects import CONTRACT, dialect_of
from pytest_mme.errors import NoAnswerError, NotReadyError, ServerStartError, UnavailableError
from pytest_mme.events import Timeline
from pytest_mme.runtimes import containers
from pytest_mme.runtimes.base import ServerSpec, let_others_read
from pytest_mme.runtimes.container_leases import labels, promise_container
from pytest_mme.runtimes.engine import first_line, hang_up, remote_host
from pytest_mme.runtimes.listening import Listener
from pytest_mme.runtimes.probes import probe_of
from pytest_mme.runtimes.watching import Sampler, Watch
from pytest_mme.serving.logs import readable
from pytest_mme.waiting import wait_for

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

STOP_S = 30.0
"""SIGTERM, and so long after it SIGKILL. Source: AWS, "Use Your Own Inference Code with Hosting Services"."""

_LOG_LINES = 20
_LISTS_WITHIN_S = 5.0  # after `/ping`: the platform asks for both
_TEAR_DOWN_S = 5  # a test is over: what it left in flight is cut off
_UNSEEN_MOUNT = "bind source path does not exist"
_NO_GPU_DRIVER = "could not select device driver"


class DockerServer:
    """A container, from before it is created until it is removed."""

    def __init__(
        self, name: str, directory: Path, timeline: Timeline, engine: docker.DockerClient, image: Image
    ) -> None:
        self.name, self._directory, self._timeline, self._engine, self._image = name, directory, timeline, engine, image
        self.models = directory / "models"
        self.facts: Mapping[str, Any] = {}
        self._log_path = directory / "server.log"
        self._log_path.touch()
        self._tells = containers.EVENTS_LABEL in image.labels
        self._listener = Listener(timeline)
        self._mounted = True
        self._undo = contextlib.ExitStack()

    def start(self, spec: ServerSpec, known_bytes: Mapping[str, int], *, device: str, run: Path) -> None:
        """Create the container, start it and wait until it answers; raises `ServerStartError`, `UnavailableError`."""
        from docker.errors import APIError

        began = time.monotonic()
        self.models.mkdir()
        self.models.chmod(0o755)  # the container's user is another
        self.container_name = f"mme-{run.name}-{self.name}-{uuid.uuid4().hex[:6]}"
        promise_container(run, self.container_name)
        self._undo.callback(self._remove)
        options: dict[str, Any] = {
            "command": ["serve"],
            "name": self.container_name,
            "environment": containers.environment(spec, self.name, known_bytes, tells=self._tells),
            "labels": labels(run),
            "ports": {f"{containers.PORT}/tcp": (self._published_at(), None)},
            "healthcheck": {"test": ["NONE"]},  # the kit asks by itself
            **containers.limits(spec),
            **containers.devices(spec, device),
        }
        try:
            self._container = self._create(spec, options)
            self._listen()
            self._container.start()
            self._container.reload()
        except APIError as error:
            raise self._not_started(error) from error
        self._await_ready(spec.start_s)
        self._look_on()
        self._timeline.record("start", source="engine", server=self.name, seconds=time.monotonic() - began)

    def _published_at(self) -> str:
        return "127.0.0.1" if self._host() in ("127.0.0.1", "localhost") else "0.0.0.0"  # noqa: S104, RUF100

    def _host(self) -> str:
        return remote_host(self._engine) or "127.0.0.1"

    def _create(self, spec: ServerSpec, options: dict[str, Any]) -> Container:
        """With the folders mounted; an engine that does not see this machine's files is sent them instead."""
        from docker.errors import APIError

        try:
            return self._engine.containers.create(self._image, mounts=containers.mounts(spec, self.models), **options)
        except APIError as error:
            if _UNSEEN_MOUNT not in str(error):
                raise
        self._mounted = False
        created = self._engine.containers.create(self._image, **options)
        for target, folder in containers.folders_to_send(spec).items():
            _send(created, folder, target)
        return created

    def _not_started(self, error: Exception) -> Exception:
        said = first_line(error)
        if _NO_GPU_DRIVER in said:
            advice = "install NVIDIA's container toolkit for the engine, or use device='cpu'"
            return UnavailableError("a GPU in a container", said, advice)
        return ServerStartError(self.name, f"the engine says: {said}", self._log_end())

    def _listen(self) -> None:
        """Read what the container prints, from its first line on."""
        self._output = self._container.attach(stdout=True, stderr=True, stream=True, logs=True, demux=True)
        self._reader = threading.Thread(target=self._read, name=f"log of {self.name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        rest = {"out": b"", "err": b""}
        with self._log_path.open("ab", buffering=0) as log, contextlib.suppress(OSError, ValueError):
            for out, err in self._output:
                for name, chunk in (("out", out), ("err", err)):
                    *lines, rest[name] = (rest[name] + (chunk or b"")).split(b"\n")
                    self._take(lines, log, events=name == "out" and self._tells)
            self._take(list(filter(None, rest.values())), log, events=False)
        self._listener.end()

    def _take(self, lines: list[bytes], log: io.FileIO, *, events: bool) -> None:
        for line in lines:
            if not (events and self._listener.hear(line)):
                log.write(line + b"\n")

    def _await_ready(self, within_s: float) -> None:
        """`/ping` and `GET /models` answer, as the platform asks for; raises `ServerStartError` with what was seen."""
        try:
            self.client = wait_for(
                self._answering, what="GET /ping answering 200", timeout_s=within_s, gone=self._not_running
            )
            self._undo.callback(self.client.close)
            wait_for(
                lambda: _answered(self.client.list),
                what="GET /models answering 200, as /ping does",
                timeout_s=_LISTS_WITHIN_S,
                gone=self._not_running,
            )
        except NotReadyError as error:
            raise ServerStartError(self.name, str(error), self._log_end()) from error
        self.dialect = CONTRACT if self._tells else dialect_of(self.client)
        if self._tells:
            self.facts = wait_for(lambda: self._listener.facts or None, what="its first event", timeout_s=within_s)

    def _look_on(self) -> None:
        self.probe = probe_of(self._container)
        sampler = None if self._tells else Sampler(self.probe, self._timeline, self.name)
        self._watch = Watch(self._engine, self._container, self._timeline, self.name, sampler=sampler)
        self._undo.callback(self._watch.close)
        if sampler:
            self._undo.callback(sampler.close)

    def _answering(self) -> ContractClient | None:
        """A client of the first address that answers: the published port, or where we live in a container ourselves
        and the engine's loopback is not ours, the container's own."""
        seen = OSError("no address yet")
        for url in self._addresses():
            client = ContractClient(url)
            try:
                _answered(client.ping)
            except OSError as error:
                seen = error
                client.close()
            else:
                return client
        raise seen

    def _addresses(self) -> list[str]:
        self._container.reload()
        network = self._container.attrs["NetworkSettings"]
        published = (network["Ports"] or {}).get(f"{containers.PORT}/tcp") or []
        found = [routes.origin(self._host(), int(published[0]["HostPort"]))] if published else []
        inside = [one["IPAddress"] for one in network["Networks"].values() if one.get("IPAddress")]
        return found + [routes.origin(address, containers.PORT) for address in inside]

    def _not_running(self) -> str | None:
        ended = self._ended()
        return None if ended is None else str(ended)

    def _ended(self) -> containers.Ended | None:
        from docker.errors import NotFound

        try:
            self._container.reload()
        except NotFound:
            return containers.Ended(code=-1, out_of_memory=False, said="somebody has removed it")
        return containers.ended(self._container.attrs["State"])

    def place(self, folder: Path) -> str:
        """Where the platform puts models; sent to an engine that does not see this machine's files."""
        target = str(PurePosixPath(routes.MODELS_FOLDER, folder.relative_to(self.models).as_posix()))
        let_others_read(folder, below=self.models)
        if not self._mounted:
            _send(self._container, folder, target)
        return target

    def log(self) -> str:
        """Standard output and error of the container."""
        return self._log_path.read_text(errors="replace")

    def _log_end(self) -> str:
        if hasattr(self, "_reader") and self._not_running():
            self._reader.join(timeout=_TEAR_DOWN_S)  # the last lines say why
        return "\n".join(map(readable, self.log().splitlines()[-_LOG_LINES:]))

    def gone(self) -> str | None:
        """How the container has ended."""
        return self._not_running()

    def used_bytes(self) -> int:
        """What the container is charged."""
        return self.probe.used_bytes()

    def catch_up(self) -> None:
        """Return when what the server, the kernel and the engine have told until now is on the timeline."""
        if self._tells:
            self._listener.catch_up(self.client)
        self._watch.catch_up()

    def stop(self, grace_s: float = STOP_S) -> float:
        """SIGTERM, and after *grace_s* seconds SIGKILL, as the platform does; how many seconds it took."""
        self._watch.expect_the_end()
        began = time.monotonic()
        self._container.stop(timeout=round(grace_s))
        seconds = time.monotonic() - began
        ended = self._ended()
        outcome = "ok" if ended is None else f"exit {ended.code}"
        self._timeline.record("stop", source="engine", server=self.name, outcome=outcome, seconds=seconds)
        return seconds

    def close(self) -> None:
        """End the container and remove it. Closing twice is fine."""
        if hasattr(self, "_watch") and self._ended() is None:
            self.stop(_TEAR_DOWN_S)
        self._undo.close()

    def _remove(self) -> None:
        """By name: what was never started, or whose creation never answered, goes too."""
        from docker.errors import NotFound

        with contextlib.suppress(NotFound):
            self._engine.containers.get(self.container_name).remove(force=True, v=True)
        if hasattr(self, "_reader"):
            self._reader.join(timeout=_TEAR_DOWN_S)
            hang_up(self._output)


def _answered(call: Any) -> Reply:
    """The reply of a call of the contract; OSError, in words, when it is no good one."""
    try:
        reply: Reply = call()
    except NoAnswerError as error:
        raise OSError(f"no answer: {error.cause}") from error
    if reply.status != 200:
        raise OSError(f"it answered {reply.status}: {reply.text[:200]}")
    return reply


def _send(container: Container, folder: Path, target: str) -> None:
    """Put a folder's content into the container at *target*, whose parents need not be there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        tar.add(folder, arcname=target.lstrip("/"))
    container.put_archive("/", packed.getvalue())
