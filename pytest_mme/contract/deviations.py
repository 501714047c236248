"""Where a server's answers leave the contract: found in each answer, told once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Literal

from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.dialects import Dialect, is_contract_list, json_object
from pytest_mme.timeline.events import Source, Timeline

Call = Literal["ping", "list", "next page", "get", "load", "load again", "unload", "clean up", "invoke"]
"""What a reply is an answer to.

``next page``: a list with a token. ``load again``: a load of an id whose last load was refused. ``clean up``: an unload
of such an id.
"""


@dataclasses.dataclass(frozen=True)
class Deviation:
    """One way in which a server differs from the contract."""

    kind: str
    """A word that stays the same."""
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


class Witness:
    """Hears the answers of one server and tells of each kind of deviation once; safe from many threads."""

    def __init__(self, dialect: Dialect, timeline: Timeline, *, server: str, source: Source) -> None:
        """*server*: what events call it. *source*: whose view of it this is."""
        self._dialect, self._timeline, self._server, self._source = dialect, timeline, server, source
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def hear(self, call: Call, reply: Reply) -> Reply:
        """Record what is new in *reply* to *call* as `deviation` events, their kind as the outcome; *reply* itself."""
        for deviation in deviations(self._dialect, call, reply):
            if self._is_new(deviation.kind):
                self._tell(deviation, call, reply)
        return reply

    def _is_new(self, kind: str) -> bool:
        """Another witness of this server may have told it."""
        with self._lock:
            if kind in self._told:
                return False
            self._told.add(kind)
        told = (event.outcome for event in self._timeline.of(self._server) if event.kind == "deviation")
        return kind not in told

    def _tell(self, deviation: Deviation, call: Call, reply: Reply) -> None:
        self._timeline.record(
            "deviation",
            source=self._source,
            server=self._server,
            outcome=deviation.kind,
            detail={
                "what": deviation.sentence,
                "call": call,
                "status": reply.status,
                "dialect": self._dialect.name,
            },
        )


def _says_unhealthy(_: Dialect, reply: Reply) -> bool:
    return reply.ok and (json_object(reply) or {}).get("status") == "Unhealthy"


def _is_no_description(_: Dialect, reply: Reply) -> bool:
    return reply.ok and not (json_object(reply) or {}).keys() >= _MEMBERS


def _is_more_than_a_description(_: Dialect, reply: Reply) -> bool:
    return reply.ok and (json_object(reply) or {}).keys() > _MEMBERS


def _is_empty_page(_: Dialect, reply: Reply) -> bool:
    return reply.ok and (json_object(reply) or {}).get("models") == []


def _hides_an_error(dialect: Dialect, reply: Reply) -> bool:
    return any(sign.on(reply) for sign in dialect.error_signs)


_MEMBERS = {"modelName", "modelUrl"}
_GHOST = Deviation("ghost", "a model that failed to load stays registered, though it cannot be asked")
_ALL_BUT_INVOKE: tuple[Call, ...] = ("ping", "list", "next page", "get", "load", "load again", "unload", "clean up")

_RULES = (
    _Rule(
        ("ping",),
        lambda _, reply: reply.ok and reply.body != b"",
        Deviation("ping-body", "GET /ping is answered with a body; the contract's answer has none"),
    ),
    _Rule(
        ("ping",),
        _says_unhealthy,
        Deviation("ping-unhealthy", "GET /ping says Unhealthy with status 200; the platform looks at the status"),
    ),
    _Rule(
        ("list", "next page"),
        lambda _, reply: not reply.ok,
        Deviation("list-error", "GET /models fails; the platform, which asks every few seconds, replaces the server"),
    ),
    _Rule(
        ("list", "next page"),
        lambda _, reply: reply.ok and not is_contract_list(reply),
        Deviation("list-shape", 'GET /models is not answered {"models": [{"modelName", "modelUrl"}, …]}'),
    ),
    _Rule(
        ("next page",),
        _is_empty_page,
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
        _is_no_description,
        Deviation("get-shape", 'GET /models/ID is not answered {"modelName", "modelUrl"}'),
    ),
    _Rule(
        ("get",),
        _is_more_than_a_description,
        Deviation("get-extra-fields", "GET /models/ID says more than modelName and modelUrl"),
    ),
    _Rule(
        ("load", "load again"),
        lambda _, reply: reply.status == 408,
        Deviation("load-408", "a load that takes too long is 408, memory or not; the contract has 507 for memory"),
    ),
    _Rule(
        ("load again",),
        lambda _, reply: reply.status == routes.ALREADY_LOADED,
        _GHOST,
    ),
    _Rule(
        ("clean up",),
        lambda _, reply: reply.ok,
        _GHOST,
    ),
    _Rule(
        ("invoke",),
        lambda dialect, reply: reply.status != routes.NOT_LOADED and dialect.lost(reply),
        Deviation("invoke-lost", "an invoke of a model whose process is gone fails otherwise than with 404"),
    ),
    _Rule(
        ("invoke",),
        lambda dialect, reply: reply.ok and _hides_an_error(dialect, reply),
        Deviation("invoke-error-200", "what a model refuses is answered 200, with the error as the body"),
    ),
    _Rule(
        ("invoke",),
        lambda dialect, reply: not reply.ok and _hides_an_error(dialect, reply),
        Deviation("invoke-error-status", "what a model refuses is answered with a status other than the model's"),
    ),
    _Rule(
        _ALL_BUT_INVOKE,
        lambda _, reply: reply.status == 502,
        Deviation("bad-gateway", "the proxy in the container answers for a process behind it that fails or has ended"),
    ),
)

DEVIATIONS: tuple[Deviation, ...] = tuple(dict.fromkeys(rule.deviation for rule in _RULES))
"""Every kind of deviation that is known."""
