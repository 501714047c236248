"""Hears the events of an embedded server, line by line, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import NoAnswerError
from pytest_mme.timeline.events import Event, Timeline, ahead_of
from pytest_mme.waiting import wait_for

_CATCH_UP_S = 10.0
_ARRIVES_S = 2.0  # the event of a load, after its answer
_SPEAKS_S = 10.0
_ENDS = ("unload", "crash", "oom")  # of a model's process
FIRST_WORDS = "waiting for the server's first line, which says what it is"


class Listener:
    """Puts a server's events on the timeline. One thread calls `hear`, any may ask."""

    def __init__(self, timeline: Timeline, server: str, *, mine: Callable[[str], bool] = lambda _: True) -> None:
        """*server*: what the timeline calls it. *mine*: whether a model's id is one of those that are told of here."""
        self._timeline, self._server, self._mine = timeline, server, mine
        self._marks: dict[str, threading.Event] = {}
        self._begun, self._ended = threading.Event(), threading.Event()
        self.facts: Mapping[str, Any] = {}
        """What the server said of itself in its first line."""
        self.ahead_s = 0.0
        """How far this machine's clock is ahead of the server's, which may be another machine's."""
        self._pids: dict[str, int] = {}
        self._loaded = threading.Condition()

    def hear(self, line: bytes) -> bool:
        """Take a line; False when it is none of the server's own, but something that somebody has printed."""
        try:
            fields = json.loads(line)
            if "ready" in fields:
                self._begin(fields["ready"])
                return True
            self._add(Event(**fields))
        except (TypeError, ValueError, KeyError, RecursionError):  # whoever printed it, it is none of ours
            return False
        return True

    def _begin(self, facts: Mapping[str, Any]) -> None:
        self.facts, self.ahead_s = dict(facts), ahead_of(facts["clock"])
        with self._loaded:
            self._pids.clear()
        self._ended.clear()
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether the server has said what it is, and not ended since."""
        return self._begun.is_set()

    def first_words(self, *, gone: Callable[[], str | None]) -> Mapping[str, Any]:
        """What a server that answers said of itself; raises `NotReadyError` when it says nothing, or *gone* why."""
        return wait_for(
            lambda: self.facts if self.has_begun else None, what=FIRST_WORDS, timeout_s=_SPEAKS_S, gone=gone
        )

    def _add(self, event: Event) -> None:
        if event.kind == "mark":  # maybe of another who shares the server
            if mark := self._marks.pop(event.detail["token"], None):
                mark.set()
        elif event.model is None or self._mine(event.model):
            self._follow(event)
            at_s = event.at_s + self.ahead_s - self._timeline.began_monotonic_s
            self._timeline.add(dataclasses.replace(event, server=self._server, at_s=at_s))

    def _follow(self, event: Event) -> None:
        """Which process each model has."""
        with self._loaded:
            if event.kind == "load" and event.model and "pid" in event.detail:
                self._pids[event.model] = event.detail["pid"]
                self._loaded.notify_all()
            elif event.kind in _ENDS:
                self._pids.pop(event.model or "", None)

    def pid(self, identifier: str, client: ContractClient) -> int | None:
        """The process of a model that is loaded, in the server's own pid namespace; None when it has none."""
        self.catch_up(client)
        with self._loaded:
            self._loaded.wait_for(lambda: identifier in self._pids, timeout=_ARRIVES_S)
            return self._pids.get(identifier)

    def end(self) -> None:
        """There will be no more lines."""
        self._begun.clear()
        self._ended.set()
        for mark in list(self._marks.values()):
            mark.set()

    def catch_up(self, client: ContractClient) -> None:
        """Return when all that the server has seen until now is on the timeline, or it has ended."""
        token, mark = uuid.uuid4().hex, threading.Event()
        self._marks[token] = mark
        try:
            client.mark(token)
        except NoAnswerError:
            self._ended.wait(timeout=_CATCH_UP_S)  # it has ended, or is ending: its stream ends with it
        else:
            if not self._ended.is_set():
                mark.wait(timeout=_CATCH_UP_S)
        finally:
            self._marks.pop(token, None)
