"""A container from its first line to its last: what it prints, what the engine reports, and when it is ready."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import CONTRACT, Dialect, dialect_of
from pytest_mme.errors import NoAnswerError, NotReadyError
from pytest_mme.runtimes.docker import addresses, creation
from pytest_mme.runtimes.docker.events import Sampler, Watch
from pytest_mme.runtimes.docker.output import Output, end_of
from pytest_mme.runtimes.docker.probes import Probe, probe_of
from pytest_mme.runtimes.docker.readiness import ready_client
from pytest_mme.runtimes.docker.start_errors import not_ready, refused
from pytest_mme.runtimes.event_reader import EventReader
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LOG_LINES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """Where what happens to a container is recorded."""

    server: str
    """Its name on the timeline."""
    timeline: Timeline
    log: Path
    """The file for what it prints."""
    events: EventReader | None
    """The reader of an embedded server's own events; None for other servers."""
    shared: bool = False
    """Whether others use the container, too: what happens to their models is not recorded then."""


class ObservedContainer:
    """Observes a container until it is closed; neither creates nor removes it."""

    def __init__(self, engine: docker.DockerClient, container: Container, recording: Recording) -> None:
        """Begin to read the container's output; raises `ServerStartError`."""
        self._engine, self._container, self._recording = engine, container, recording
        self._undo = contextlib.ExitStack()
        with self._explained():
            self._output = Output(container, recording.log, recording.events)
        self._undo.callback(self._stop_reading)

    def start(self) -> None:
        """Start the container; raises `ServerStartError`, `UnavailableError`."""
        with self._explained():
            self._container.start()

    def await_ready(self, *, within_s: float) -> ContractClient:
        """Wait until it is ready, and record what the kernel and the engine see after that; raises `ServerStartError`."""
        with self._explained():
            client = ready_client(
                lambda: addresses.of(self._container, self._engine), within_s=within_s, gone=self.gone
            )
            self._undo.callback(client.close)
            self.dialect: Dialect = CONTRACT if self._recording.events else dialect_of(client)
            about = self._recording
            self.probe: Probe = probe_of(self._container)
            sampler = None
            if not about.events:
                sampler = Sampler(self.probe, about.timeline, about.server, shared=about.shared)
                self._undo.callback(sampler.close)
            self.watch = Watch(self._engine, self._container, about.timeline, about.server, sampler=sampler)
            self._undo.callback(self.watch.close)
        return client

    def await_facts(self) -> None:
        """Wait for what an embedded server reports about itself; raises `ServerStartError`."""
        if events := self._recording.events:
            with self._explained():
                events.await_facts(gone=self.gone)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error into one that explains why the container does not start."""
        from docker.errors import APIError

        server = self._recording.server
        try:
            yield
        except APIError as error:
            raise refused(server, error, self._last_lines()) from error
        except (NotReadyError, NoAnswerError, OSError) as error:  # OSError: the container was gone
            raise not_ready(server, self._container, error, self._last_lines()) from error

    def _last_lines(self) -> str:
        if self.gone():
            self._output.read_to_end()  # the last lines say why
        return end_of(self._recording.log, _LOG_LINES)

    def gone(self) -> str | None:
        """How the container has ended; None while it runs."""
        ended = creation.ended(self._container)
        return None if ended is None else str(ended)

    def close(self) -> None:
        """Stop observing. Closing twice is fine."""
        self._undo.close()

    def _stop_reading(self) -> None:
        if self.gone():
            self._output.read_to_end()
        self._output.close()
