"""One instance of an endpoint: carries out on a server, with threads, what the state machine decides."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial

from pytest_mme.aws import wire
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.deviations import DeviationRecorder
from pytest_mme.contract.dialects import Loading
from pytest_mme.errors import ArchiveError, NoAnswerError
from pytest_mme.hosting import lifecycle
from pytest_mme.hosting.disk import Disk
from pytest_mme.hosting.eviction import Policy
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import RecordedCall, recorded
from pytest_mme.timeline.events import NO_ANSWER, Kind, Timeline

log = logging.getLogger("pytest_mme")

_THREADS = 256  # started as they are needed: models never wait for each other's downloads and loads


class _Request(lifecycle.Ticket):
    """A ticket with the future that its thread waits for."""

    def __init__(self, target: str, used_s: list[float]) -> None:
        super().__init__(target)
        self.admitted: Future[None] = Future()
        self.used_s = used_s
        """When it was let to its model, and done, in turn: the moments that the state machine went by."""


class Instance:
    """One server of an endpoint, with the models on its disk and in its memory; safe from many threads."""

    def __init__(
        self, endpoint: str, server: Running, disk: Disk, timeline: Timeline, *, policy: Policy, ready_s: float
    ) -> None:
        self._endpoint, self._server, self._disk, self._timeline = endpoint, server, disk, timeline
        self._deviations = DeviationRecorder(server.dialect, timeline, server=endpoint, source="hosting")
        self._lifecycle = lifecycle.Lifecycle(policy)
        self._ready_s = ready_s
        self._lock = threading.Lock()
        self._identifiers: dict[str, str] = {}
        self._failed_before: set[str] = set()
        self._dead: set[str] = set()
        self._pool = ThreadPoolExecutor(_THREADS, f"hosting {endpoint}")

    def invoke(self, request: wire.WireRequest, target: str, used_s: list[float], *, timeout_s: float) -> Reply:
        """Return the container's reply to a request, after its model was loaded if need be; raises `WireError`.

        *used_s* gets the moments, in seconds of the timeline, at which the request was let to its model, and done, in turn.
        """
        ticket = _Request(target, used_s)
        self._step(lifecycle.Wanted(ticket))
        while True:
            self._await_admission(ticket)
            ticket.admitted = Future()
            lost = False
            try:
                reply = self._send(request, target, timeout_s)
                lost = self._server.dialect.lost(reply) and not ticket.retried
            finally:
                self._step(lifecycle.Finished(ticket, lost=lost))
            if not lost:
                return reply

    def _await_admission(self, ticket: _Request) -> None:
        try:
            ticket.admitted.result(timeout=self._ready_s)
        except FutureTimeoutError:
            if ticket.admitted.cancel():  # else it was admitted, or refused, just now
                raise wire.model_not_ready(ticket.model) from None
            ticket.admitted.result()

    def _send(self, request: wire.WireRequest, target: str, timeout_s: float) -> Reply:
        headers = {**request.headers, routes.TARGET_MODEL: target, routes.REQUEST_ID: request.request_id}
        identifier = self.identifier(target)
        try:
            reply = self._server.client.invoke(identifier, request.body, headers, timeout_s=timeout_s)
        except NoAnswerError as error:
            gone = wire.model_timed_out if error.timed_out else wire.container_gone
            raise gone(self._endpoint) from error
        if self._server.dialect.lost(reply) and reply.status != routes.NOT_LOADED:
            self._dead.add(identifier)
        return self._deviations.record("invoke", reply)

    def _step(self, event: lifecycle.Event) -> None:
        """Report *event* to the state machine, and carry out the actions that follow."""
        with self._lock:
            actions = self._lifecycle.step(event)
            now_s = self._timeline.now_s()
            if isinstance(event, lifecycle.Finished) and isinstance(event.ticket, _Request):
                event.ticket.used_s.append(now_s)
        for action in actions:
            self._carry_out(action, now_s)

    def _carry_out(self, action: lifecycle.Action, decided_s: float) -> None:
        match action:
            case lifecycle.Admit(_Request() as ticket):
                ticket.used_s.append(decided_s)
                try:
                    ticket.admitted.set_result(None)
                except InvalidStateError:  # its thread has given up: the request is over before it began
                    self._step(lifecycle.Finished(ticket))
            case lifecycle.Refuse(_Request() as ticket, error):
                if not isinstance(error, wire.WireError):
                    error = wire.internal_failure(error)
                with contextlib.suppress(InvalidStateError):  # its thread has given up
                    ticket.admitted.set_exception(error)
            case lifecycle.Download(model):
                self._start(self._download, model, lambda failure: lifecycle.Downloaded(model, failure))
            case lifecycle.Load(model):
                self._start(self._load, model, lambda failure: lifecycle.Loaded(model, failure))
            case lifecycle.Evict(model, room_for):
                self._start(partial(self._evict, room_for, decided_s), model, lambda _: lifecycle.Unloaded(model))

    def _start(
        self,
        work: Callable[[str], lifecycle.Event],
        model: str,
        failed: Callable[[Exception], lifecycle.Event],
    ) -> None:
        """Do *work* on a thread and report its event, or the event *failed* when it raises: no request waits for ever."""

        def run() -> None:
            try:
                event = work(model)
            except Exception as error:
                log.exception("%s of %s failed", model, self._endpoint)
                event = failed(error)
            self._step(event)

        self._pool.submit(run)

    def _download(self, model: str) -> lifecycle.Event:
        with self._recorded("download", model) as call:
            try:
                fetched = self._disk.fetch(model, self.identifier(model))
            except wire.WireError as error:
                call.outcome, call.detail["error"] = error.code, error.message
                if isinstance(error.__cause__, ArchiveError):
                    call.detail["refused"] = error.__cause__.seen
                return lifecycle.Downloaded(model, error)
            call.outcome = "ok"
            call.detail |= {"bytes": fetched.bytes, "archive": fetched.checksum}
        return lifecycle.Downloaded(model)

    def _load(self, model: str) -> lifecycle.Event:
        identifier = self.identifier(model)
        try:
            with self._recorded("load", model) as call:
                if identifier in self._dead:  # some containers keep its id, and refuse to load it until it is deleted
                    with self._recorded("unload", model, reason="its process is gone") as unload:
                        unload.outcome = self._unload(identifier)
                    self._dead.discard(identifier)
                reply, meaning = self._send_load(identifier, self._server.place(self._disk.folder(identifier)))
                call.outcome = "ok" if reply.ok else str(reply.status)
                if meaning in (Loading.LOADED, Loading.ALREADY):
                    self._failed_before.discard(identifier)
                    return lifecycle.Loaded(model)
                call.detail["error"] = reply.text
        except NoAnswerError:
            return lifecycle.Loaded(model, wire.container_gone(self._endpoint))
        self._delete_ghost(identifier)
        failure = wire.model_error(self._endpoint, reply.status, reply.body)
        return lifecycle.Loaded(model, failure, no_room=meaning is Loading.NO_MEMORY)

    def _send_load(self, identifier: str, url: str, *, again: bool = True) -> tuple[Reply, Loading]:
        """Send a load; where a ghost is in its way, delete that and send the load *again*, once (assumed)."""
        failed_before = identifier in self._failed_before
        reply = self._server.client.load(identifier, url)
        self._deviations.record("load again" if failed_before else "load", reply)
        meaning = self._server.dialect.loading(reply, failed_before=failed_before)
        if meaning is Loading.GHOST and again:
            self._delete_ghost(identifier)
            return self._send_load(identifier, url, again=False)
        return reply, meaning

    def _delete_ghost(self, identifier: str) -> None:
        """Delete a model whose load has failed: some containers keep it until then, as a ghost."""
        self._failed_before.add(identifier)
        with contextlib.suppress(NoAnswerError):  # the container is gone, and its ghosts with it
            self._deviations.record("clean up", self._server.client.unload(identifier))

    def _evict(self, room_for: str, decided_s: float, model: str) -> lifecycle.Event:
        reason: dict[str, str | float] = {
            "room_for": _name(room_for),
            "reason": "no memory to load it",
            "decided_s": decided_s,
        }
        with (
            contextlib.suppress(NoAnswerError),  # the container is gone, and the model with it
            self._recorded("unload", model) as unload,
            self._recorded("evict", model, **reason) as evict,
        ):
            unload.outcome = evict.outcome = self._unload(self.identifier(model))
        return lifecycle.Unloaded(model)

    def _unload(self, identifier: str) -> str:
        """Unload a model and return the outcome to record; a model that is not loaded is as good as unloaded."""
        reply = self._deviations.record("unload", self._server.client.unload(identifier))
        return "ok" if reply.ok or reply.status == routes.NOT_LOADED else str(reply.status)

    @contextlib.contextmanager
    def _recorded(self, kind: Kind, model: str, **detail: str | float) -> Iterator[RecordedCall]:
        """Record what the block does to a model; the block sets the outcome, unless it raises."""
        call = RecordedCall(kind=kind, model=_name(model), outcome="500 InternalFailure", detail=detail)
        with recorded(self._timeline, call, source="hosting", server=self._endpoint):
            try:
                yield call
            except NoAnswerError as error:
                call.outcome, call.detail["error"] = NO_ANSWER, str(error)
                raise

    def identifier(self, model: str) -> str:
        """The opaque id that the container knows a model by: 32 hexadecimal digits, as on a real endpoint."""
        with self._lock:
            found = self._identifiers.get(model)
            if found is None:
                found = self._identifiers[model] = uuid.uuid4().hex
                self._timeline.name_model(found, _name(model))
        return found

    def close(self) -> None:
        """Start nothing more; what is under way ends with the server."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _name(target: str) -> str:
    return target.removesuffix(".tar.gz")
