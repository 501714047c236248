"""A container from its first line to its last: what it says, what the engine sees of it, and when it is ready."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import CONTRACT, Dialect, dialect_of
from pytest_mme.errors import NoAnswerError, NotReadyError
from pytest_mme.runtimes.docker import addresses, containers
from pytest_mme.runtimes.docker.events import Sampler, Watch
from pytest_mme.runtimes.docker.output import Output, end_of
from pytest_mme.runtimes.docker.probes import Probe, probe_of
from pytest_mme.runtimes.docker.readiness import ready_client
from pytest_mme.runtimes.docker.start_errors import not_ready, refused
from pytest_mme.runtimes.event_reader import Listener
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LOG_LINES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audience:
    """Who hears of a container."""

    server: str
    """What the timeline calls it."""
    timeline: Timeline
    log: Path
    """The file that takes what it prints."""
    listener: Listener | None
    """Of an embedded server, which tells its events itself."""
    shared: bool = False
    """Whether others use the container, too: then what befalls their models is not told."""


class ContainerLife:
    """Listens to a container until it is closed. It neither creates the container nor removes it."""

    def __init__(self, engine: docker.DockerClient, container: Container, audience: Audience) -> None:
        """Listen from now on; raises `ServerStartError`."""
        self._engine, self._container, self._audience = engine, container, audience
        self._undo = contextlib.ExitStack()
        with self._explained():
            self._output = Output(container, audience.log, audience.listener)
        self._undo.callback(self._stop_listening)

    def start(self) -> None:
        """Start the container; raises `ServerStartError`, `UnavailableError`."""
        with self._explained():
            self._container.start()

    def await_ready(self, *, within_s: float) -> ContractClient:
        """Wait until it answers; from then on what the kernel and the engine see is told. Raises `ServerStartError`."""
        with self._explained():
            client = ready_client(
                lambda: addresses.of(self._container, self._engine), within_s=within_s, gone=self.gone
            )
            self._undo.callback(client.close)
            self.dialect = self._dialect(client)
            self._look_on()
        return client

    def _dialect(self, client: ContractClient) -> Dialect:
        return CONTRACT if self._audience.listener else dialect_of(client)

    def _look_on(self) -> None:
        about = self._audience
        self.probe: Probe = probe_of(self._container)
        sampler = None
        if not about.listener:
            sampler = Sampler(self.probe, about.timeline, about.server, shared=about.shared)
            self._undo.callback(sampler.close)
        self.watch = Watch(self._engine, self._container, about.timeline, about.server, sampler=sampler)
        self._undo.callback(self.watch.close)

    def await_first_words(self) -> None:
        """Wait for what an embedded server says of itself; raises `ServerStartError`."""
        if listener := self._audience.listener:
            with self._explained():
                listener.first_words(gone=self.gone)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Why the container does not come up."""
        from docker.errors import APIError

        server = self._audience.server
        try:
            yield
        except APIError as error:
            raise refused(server, error, self._last_lines()) from error
        except (NotReadyError, NoAnswerError, OSError) as error:  # OSError: it was gone when it was looked at
            raise not_ready(server, self._container, error, self._last_lines()) from error

    def _last_lines(self) -> str:
        if self.gone():
            self._output.hear_out()  # the last lines say why
        return end_of(self._audience.log, _LOG_LINES)

    def gone(self) -> str | None:
        """How the container has ended."""
        ended = containers.ended(self._container)
        return None if ended is None else str(ended)

    def close(self) -> None:
        """Stop listening. Closing twice is fine."""
        self._undo.close()

    def _stop_listening(self) -> None:
        if self.gone():
            self._output.hear_out()
        self._output.close()
