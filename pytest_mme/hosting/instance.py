"""One instance of an endpoint: drives the state machine against a server, with threads."""

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
from pytest_mme.contract.deviations import Witness
from pytest_mme.contract.dialects import Loading
from pytest_mme.errors import ArchiveError, NoAnswerError
from pytest_mme.hosting import lifecycle
from pytest_mme.hosting.disk import Disk
from pytest_mme.hosting.eviction import Policy
from pytest_mme.runtimes.base import Running
from pytest_mme.runtimes.recorded_calls import RecordedCall, recorded
from pytest_mme.timeline.events import Kind, Timeline

log = logging.getLogger("pytest_mme")

Work = Callable[[str], lifecycle.Event]
"""Something done to a model, and what came of it."""

_THREADS = 256  # started as they are needed: models never wait for each other's downloads and loads


class _Request(lifecycle.Ticket):
    """A ticket, and the promise that its thread waits for."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.admitted: Future[None] = Future()


class Instance:
    """The platform's side of one server."""

    def __init__(
        self, endpoint: str, server: Running, disk: Disk, timeline: Timeline, *, policy: Policy, ready_s: float
    ) -> None:
        self._endpoint, self._server, self._disk, self._timeline = endpoint, server, disk, timeline
        self._dialect = server.dialect
        self._witness = Witness(server.dialect, timeline, server=endpoint, source="hosting")
        self._lifecycle = lifecycle.Lifecycle(policy)
        self._ready_s = ready_s
        self._lock = threading.Lock()
        self._identifiers: dict[str, str] = {}
        self._failed_before: set[str] = set()
        self._dead: set[str] = set()
        self._pool = ThreadPoolExecutor(_THREADS, f"hosting {endpoint}")

    def invoke(self, request: wire.WireRequest, target: str, *, timeout_s: float) -> Reply:
        """Answer one request with what the container says, loading its model first; raises `WireError`."""
        ticket = _Request(target)
        self._step(lifecycle.Wanted(ticket))
        while True:
            self._await_admission(ticket)
            ticket.admitted = Future()
            reply, lost = None, False
            try:
                reply = self._ask(request, target, timeout_s)
                lost = self._dialect.lost(reply) and not ticket.retried
            finally:
                self._step(lifecycle.Answered(ticket, lost=lost))
            if not lost:
                return reply

    def _await_admission(self, ticket: _Request) -> None:
        try:
            ticket.admitted.result(timeout=self._ready_s)
        except FutureTimeoutError:
            if ticket.admitted.cancel():  # else it was admitted, or refused, just now
                raise wire.model_not_ready(ticket.model) from None
            ticket.admitted.result()

    def _ask(self, request: wire.WireRequest, target: str, timeout_s: float) -> Reply:
        headers = {**request.headers, routes.TARGET_MODEL: target, routes.REQUEST_ID: request.request_id}
        identifier = self.identifier(target)
        try:
            reply = self._server.client.invoke(identifier, request.body, headers, timeout_s=timeout_s)
        except NoAnswerError as error:
            gone = wire.model_timed_out if error.timed_out else wire.container_gone
            raise gone(self._endpoint) from error
        if self._dialect.lost(reply) and reply.status != routes.NOT_LOADED:
            self._dead.add(identifier)
        return self._witness.hear("invoke", reply)

    def _step(self, event: lifecycle.Event) -> None:
        with self._lock:
            actions = self._lifecycle.step(event)
        for action in actions:
            self._do(action)

    def _do(self, action: lifecycle.Action) -> None:
        match action:
            case lifecycle.Admit(_Request() as ticket):
                self._admit(ticket)
            case lifecycle.Refuse(_Request() as ticket, failure):
                with contextlib.suppress(InvalidStateError):  # its thread has given up waiting
                    ticket.admitted.set_exception(self._error(failure))
            case lifecycle.Download(model):
                self._start(self._download, model, lambda failure: lifecycle.Downloaded(model, failure))
            case lifecycle.Load(model):
                self._start(self._load, model, lambda failure: lifecycle.Loaded(model, failure))
            case lifecycle.Evict(model, room_for):
                self._start(partial(self._evict, room_for), model, lambda _: lifecycle.Unloaded(model))

    def _admit(self, ticket: _Request) -> None:
        try:
            ticket.admitted.set_result(None)
        except InvalidStateError:  # its thread has given up waiting: the request is over before it began
            self._step(lifecycle.Answered(ticket))

    def _error(self, failure: lifecycle.Failure) -> Exception:
        if failure.cause is None:
            return wire.model_error(self._endpoint, failure.status, failure.body)
        return failure.cause if isinstance(failure.cause, wire.WireError) else wire.internal_failure(failure.cause)

    def _start(self, work: Work, model: str, failed: Callable[[lifecycle.Failure], lifecycle.Event]) -> None:
        """Do *work* on a thread, and then what its outcome asks for; whatever goes wrong, those who wait hear of it."""

        def run() -> None:
            try:
                event = work(model)
            except Exception as error:
                log.exception("%s of %s failed", model, self._endpoint)
                event = failed(lifecycle.Failure(500, b"", cause=error))
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
                return lifecycle.Downloaded(model, lifecycle.Failure(error.status, error.body(), cause=error))
            call.outcome = "ok"
            call.detail |= {"bytes": fetched.bytes, "archive": fetched.checksum}
        return lifecycle.Downloaded(model)

    def _load(self, model: str) -> lifecycle.Event:
        identifier = self.identifier(model)
        with self._recorded("load", model) as call:
            try:
                self._bury(model)
                reply, meaning = self._order(identifier, self._server.place(self._disk.folder(identifier)))
            except NoAnswerError as error:
                call.outcome, call.detail["error"] = "no answer", str(error)
                return lifecycle.Loaded(model, lifecycle.Failure(0, b"", cause=wire.container_gone(self._endpoint)))
            call.outcome = "ok" if reply.ok else str(reply.status)
            if meaning in (Loading.LOADED, Loading.ALREADY):
                self._failed_before.discard(identifier)
                return lifecycle.Loaded(model)
            call.detail["error"] = reply.text
        self._clean_up_after_failed_load(identifier)
        failure = lifecycle.Failure(reply.status, reply.body)
        return lifecycle.Loaded(model, failure, no_room=meaning is Loading.NO_MEMORY)

    def _order(self, identifier: str, url: str) -> tuple[Reply, Loading]:
        """Ask for a load; once more when a ghost was in its way that came up after the cleaning (assumed)."""
        reply, meaning = self._order_once(identifier, url)
        if meaning is not Loading.GHOST:
            return reply, meaning
        self._clean_up_after_failed_load(identifier)
        return self._order_once(identifier, url)

    def _order_once(self, identifier: str, url: str) -> tuple[Reply, Loading]:
        failed_before = identifier in self._failed_before
        reply = self._server.client.load(identifier, url)
        self._witness.hear("load again" if failed_before else "load", reply)
        return reply, self._dialect.loading(reply, failed_before=failed_before)

    def _bury(self, model: str) -> None:
        """Some containers keep the id of a model whose process is gone, and refuse to load it until it is deleted."""
        identifier = self.identifier(model)
        if identifier in self._dead:
            with self._recorded("unload", model, reason="its process is gone") as call:
                reply = self._witness.hear("unload", self._server.client.unload(identifier))
                call.outcome = _unloaded(reply)
            self._dead.discard(identifier)

    def _clean_up_after_failed_load(self, identifier: str) -> None:
        """Some containers keep a ghost of a model that failed to load, until it is deleted."""
        self._failed_before.add(identifier)
        try:
            self._witness.hear("clean up", self._server.client.unload(identifier))
        except NoAnswerError:
            return  # the container is gone, and its ghosts with it

    def _evict(self, room_for: str, model: str) -> lifecycle.Event:
        reason = {"room_for": _name(room_for), "reason": "no memory to load it"}
        with self._recorded("unload", model) as unload, self._recorded("evict", model, **reason) as evict:
            try:
                reply = self._witness.hear("unload", self._server.client.unload(self.identifier(model)))
                unload.outcome = evict.outcome = _unloaded(reply)
            except NoAnswerError as error:
                unload.outcome = evict.outcome = "no answer"
                evict.detail["error"] = str(error)
        return lifecycle.Unloaded(model)

    @contextlib.contextmanager
    def _recorded(self, kind: Kind, model: str, **detail: str) -> Iterator[RecordedCall]:
        """Record what the block does to a model, from its beginning to its end."""
        call = RecordedCall(kind=kind, model=_name(model), outcome="500 InternalFailure", detail=detail)
        with recorded(self._timeline, call, source="hosting", server=self._endpoint):
            yield call

    def identifier(self, model: str) -> str:
        """The opaque id that the container knows a model by: 32 hex digits, as on a real endpoint."""
        with self._lock:
            found = self._identifiers.get(model)
            if found is None:
                found = self._identifiers[model] = uuid.uuid4().hex
                self._timeline.name_model(found, _name(model))
        return found

    def close(self) -> None:
        """Start nothing more; what is under way ends with the server."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _unloaded(reply: Reply) -> str:
    return "ok" if reply.ok or reply.status == routes.NOT_LOADED else str(reply.status)


def _name(target: str) -> str:
    return target.removesuffix(".tar.gz")
