"""Records what only the engine and the kernel know of a container: its memory, kernel kills, its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_mme.runtimes.docker import creation
from pytest_mme.runtimes.docker.engine import close_stream
from pytest_mme.runtimes.docker.probes import Probe
from pytest_mme.timeline.events import Timeline

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LEAST_CHANGE = 2**20  # bytes: a smaller change need not be a model's
_GOES_WITHIN_S = 2.0  # a kill is counted first, and the process leaves the table a moment later
_CATCH_UP_S = 10.0
_EVENT_WITHIN_S = 2.0


class Sampler:
    """Samples a container in a thread of its own: its memory, and which model's process the kernel has killed.

    A process is a model's when its command line names the model's id: so it is with AWS's TensorFlow containers and
    with multi-model-server.
    """

    def __init__(self, probe: Probe, timeline: Timeline, server: str, *, shared: bool = False) -> None:
        """*shared*: others use the container, too, and record the kills that hit none of this test's models."""
        self._probe, self._timeline, self._server, self._shared = probe, timeline, server, shared
        self._processes: Mapping[int, str] = {}
        self._sampled_bytes = self._sampled_peak_bytes = 0
        self._kills_seen = probe.kills()
        self._kills_reported = 0
        self._unexplained: list[float] = []
        self._rounds = 0
        self._changed = threading.Condition()
        self._hurry = self._stopping = self._over = False
        self._thread = threading.Thread(target=self._run, name=f"samples of {server}", daemon=True)
        self._thread.start()

    def kill_reported(self) -> None:
        """Note that the engine has reported a kernel kill."""
        with self._changed:
            self._kills_reported += 1
            self._hurry = True
            self._changed.notify_all()

    def catch_up(self) -> None:
        """Return when everything that has happened until now is on the timeline."""
        with self._changed:
            enough = self._rounds + 2  # the round under way may have looked before now
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._over or (self._rounds >= enough and not self._unexplained), timeout=_CATCH_UP_S
            )

    def close(self) -> None:
        """Stop sampling."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=_CATCH_UP_S)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the container is gone
            while not self._stopping:
                self._sample()
                with self._changed:
                    self._rounds += 1
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._hurry or self._stopping, timeout=self._probe.every_s)
                    self._hurry = False
        while self._unexplained:  # it cannot be found out any more which models they have hit
            self._record_kill(self._unexplained.pop(0), None)
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _sample(self) -> None:
        before, self._processes = self._processes, self._probe.processes()
        used = self._probe.used_bytes()
        peak = self._probe.peak_bytes()
        if max(abs(used - self._sampled_bytes), (peak or 0) - self._sampled_peak_bytes) >= _LEAST_CHANGE:
            self._sampled_bytes, self._sampled_peak_bytes = used, peak or 0
            detail = {"used_bytes": used, "limit_bytes": self._probe.limit_bytes()}
            detail |= {} if peak is None else {"peak_bytes": peak}
            self._timeline.record("sample", source="probe", server=self._server, detail=detail)
        self._record_kills([line for pid, line in before.items() if line and not self._processes.get(pid)])

    def _record_kills(self, gone: list[str]) -> None:
        """Record each kill, with the model whose process has gone."""
        self._unexplained += [self._timeline.now_s()] * self._new_kills()
        for model in filter(None, map(self._timeline.named_in, gone)):
            if self._unexplained:
                self._record_kill(self._unexplained.pop(0), model)
        while self._unexplained and self._timeline.now_s() - self._unexplained[0] > _GOES_WITHIN_S:
            self._record_kill(self._unexplained.pop(0), None)

    def _new_kills(self) -> int:
        """How many kills the kernel has counted since; where that cannot be read, how many the engine has reported."""
        with self._changed:
            reported, self._kills_reported = self._kills_reported, 0
        counted = self._probe.kills()
        if counted is None or self._kills_seen is None:
            return reported
        new, self._kills_seen = counted - self._kills_seen, counted
        return new

    def _record_kill(self, at_s: float, model: str | None) -> None:
        if model is None and self._shared:
            return
        self._timeline.record("oom", source="engine", server=self._server, at_s=at_s, model=model, outcome="SIGKILL")


class Watch:
    """Follows the engine's events of a container, in a thread of its own."""

    def __init__(
        self,
        engine: docker.DockerClient,
        container: Container,
        timeline: Timeline,
        server: str,
        *,
        sampler: Sampler | None,
    ) -> None:
        """*sampler*: for a server that does not itself report its memory and the ends of its models' processes."""
        self._container, self._timeline, self._server, self._sampler = container, timeline, server, sampler
        self._expected = False
        self._ended, self._recording = threading.Event(), threading.Lock()
        self._stream: Any = engine.events(filters={"container": container.id}, decode=True)
        self._thread = threading.Thread(target=self._follow, name=f"engine's events of {server}", daemon=True)
        self._thread.start()

    def expect_end(self) -> None:
        """Do not record the container's end as a crash when it comes."""
        self._expected = True

    def catch_up(self) -> None:
        """Return when everything that has happened until now is on the timeline."""
        if ended := creation.ended(self._container):
            if not self._ended.wait(timeout=_EVENT_WITHIN_S):  # it ended before the engine's events were followed
                self._record_end(ended.code)
        elif self._sampler:
            self._sampler.catch_up()

    def close(self) -> None:
        """Stop following."""
        close_stream(self._stream)
        self._thread.join(timeout=_CATCH_UP_S)

    def _follow(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the stream was closed while it was read
            for event in self._stream:
                if event.get("Action") == "oom" and self._sampler:
                    self._sampler.kill_reported()
                elif event.get("Action") == "die":
                    self._record_end(int(event["Actor"]["Attributes"]["exitCode"]))

    def _record_end(self, code: int | None) -> None:
        """Record that the container's first process has ended, and all others with it."""
        ended = creation.ended(self._container)
        with self._recording:
            if not (self._expected or self._ended.is_set()):
                self._timeline.record(
                    "oom" if ended and ended.killed_for_memory else "crash",
                    source="engine",
                    server=self._server,
                    outcome="removed" if code is None else f"exit {code}",
                    detail={"what": "the container's first process, and with it all others", "models": "all"},
                )
            self._ended.set()
