"""Where a server's replies deviate from the contract: looked for in each reply, recorded once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Literal

from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.dialects import Dialect, is_contract_list, json_object
from pytest_mme.timeline.events import Source, Timeline

Call = Literal["ping", "list", "next page", "get", "load", "load again", "unload", "clean up", "invoke"]
"""The call that a reply belongs to.

``next page``: a list with a token. ``load again``: a load of an id whose last load was refused. ``clean up``: an unload
of such an id.
"""


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One way in which a server differs from the contract."""

    kind: str
    """Its name, which does not change between versions."""
    sentence: str
    """What the server does, and what the contract says."""


@dataclasses.dataclass(frozen=True)
class _Rule:
    calls: tuple[Call, ...]
    shows: Callable[[Dialect, Reply], bool]
    deviation: Deviation


def deviations(dialect: Dialect, call: Call, reply: Reply) -> tuple[Deviation, ...]:
    """How *reply* to *call*, from a server of this *dialect*, deviates from the contract; mostly not at all."""
    return tuple(rule.deviation for rule in _RULES if call in rule.calls and rule.shows(dialect, reply))


class DeviationRecorder:
    """Looks at the replies of one server and records each kind of deviation once; safe from many threads."""

    def __init__(self, dialect: Dialect, timeline: Timeline, *, server: str, source: Source) -> None:
        """*server*: its name in events. *source*: who sees the replies."""
        self._dialect, self._timeline, self._server, self._source = dialect, timeline, server, source
        self._lock = threading.Lock()
        self._recorded: set[str] = set()

    def record(self, call: Call, reply: Reply) -> Reply:
        """Record each new deviation in *reply* to *call* as a `deviation` event, its kind as the outcome; return *reply*."""
        for deviation in deviations(self._dialect, call, reply):
            with self._lock:
                if deviation.kind in self._recorded:
                    continue
                self._recorded.add(deviation.kind)
            earlier = (event.outcome for event in self._timeline.of(self._server) if event.kind == "deviation")
            if deviation.kind not in earlier:  # another recorder of the same server may have been first
                detail = {"what": deviation.sentence, "call": call, "status": reply.status}
                self._timeline.record(
                    "deviation",
                    source=self._source,
                    server=self._server,
                    outcome=deviation.kind,
                    detail={**detail, "dialect": self._dialect.name},
                )
        return reply


def _members(reply: Reply) -> dict[str, Any]:
    return json_object(reply) or {}


_DESCRIPTION = {"modelName", "modelUrl"}
_GHOST = Deviation("ghost", "a model that failed to load stays registered, though it cannot be invoked")
_ALL_BUT_INVOKE: tuple[Call, ...] = ("ping", "list", "next page", "get", "load", "load again", "unload", "clean up")

_RULES = (
    _Rule(
        ("ping",),
        lambda _, reply: reply.ok and reply.body != b"",
        Deviation("ping-body", "the reply to GET /ping has a body; the contract's has none"),
    ),
    _Rule(
        ("ping",),
        lambda _, reply: reply.ok and _members(reply).get("status") == "Unhealthy",
        Deviation("ping-unhealthy", "GET /ping reports Unhealthy with status 200; the platform looks at the status"),
    ),
    _Rule(
        ("list", "next page"),
        lambda _, reply: not reply.ok,
        Deviation(
            "list-error", "GET /models fails; the platform, which calls it every few seconds, replaces the server"
        ),
    ),
    _Rule(
        ("list", "next page"),
        lambda _, reply: reply.ok and not is_contract_list(reply),
        Deviation("list-shape", 'the reply to GET /models is not {"models": [{"modelName", "modelUrl"}, …]}'),
    ),
    _Rule(
        ("next page",),
        lambda _, reply: reply.ok and _members(reply).get("models") == [],
        Deviation("list-empty-page", "the list's last page is empty; the page before it should have had no token"),
    ),
    _Rule(
        ("get",),
        lambda _, reply: reply.status >= 500,
        Deviation(
            "get-error", "GET /models/ID fails for a model that is loaded; the contract has 200, and 404 for the others"
        ),
    ),
    _Rule(
        ("get",),
        lambda _, reply: reply.ok and not _members(reply).keys() >= _DESCRIPTION,
        Deviation("get-shape", 'the reply to GET /models/ID is not {"modelName", "modelUrl"}'),
    ),
    _Rule(
        ("get",),
        lambda _, reply: reply.ok and _members(reply).keys() > _DESCRIPTION,
        Deviation("get-extra-fields", "GET /models/ID reports more than modelName and modelUrl"),
    ),
    _Rule(
        ("load", "load again"),
        lambda _, reply: reply.status == 408,
        Deviation("load-408", "a load that takes too long is 408, memory or not; the contract has 507 for memory"),
    ),
    _Rule(("load again",), lambda _, reply: reply.status == routes.ALREADY_LOADED, _GHOST),
    _Rule(("clean up",), lambda _, reply: reply.ok, _GHOST),
    _Rule(
        ("invoke",),
        lambda dialect, reply: reply.status != routes.NOT_LOADED and dialect.lost(reply),
        Deviation("invoke-lost", "an invoke of a model whose process is gone fails with another status than 404"),
    ),
    _Rule(
        ("invoke",),
        lambda dialect, reply: reply.ok and dialect.hides_an_error(reply),
        Deviation("invoke-error-200", "a request that the model refuses gets status 200, with the error as the body"),
    ),
    _Rule(
        ("invoke",),
        lambda dialect, reply: not reply.ok and dialect.hides_an_error(reply),
        Deviation("invoke-error-status", "a request that the model refuses gets another status than the model's"),
    ),
    _Rule(
        _ALL_BUT_INVOKE,
        lambda _, reply: reply.status == 502,
        Deviation("bad-gateway", "the proxy in the container replies for a process behind it that fails or has ended"),
    ),
)

DEVIATIONS: tuple[Deviation, ...] = tuple(dict.fromkeys(rule.deviation for rule in _RULES))
"""Every kind of deviation that is known."""
