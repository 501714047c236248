"""Reads the events of an embedded server, line by line, wherever it runs."""

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
_ARRIVES_S = 2.0  # the event of a load may come so long after its reply
_FACTS_S = 10.0
_ENDS = ("unload", "crash", "oom")  # of a model's process
FACTS = "waiting for the server's first line, which describes it"


class EventReader:
    """Puts a server's events on the timeline. One thread calls `read`; any thread may call the other methods."""

    def __init__(self, timeline: Timeline, server: str, *, is_mine: Callable[[str], bool] = lambda _: True) -> None:
        """*server*: its name on the timeline. *is_mine*: whether the events of a model, by its id, are recorded here."""
        self._timeline, self._server, self._is_mine = timeline, server, is_mine
        self._marks: dict[str, threading.Event] = {}
        self._started, self._ended = threading.Event(), threading.Event()
        self.facts: Mapping[str, Any] = {}
        """What the server reported about itself in its first line."""
        self.ahead_s = 0.0
        """How far this machine's clock is ahead of the server's, in seconds: that may be another machine's."""
        self._pids: dict[str, int] = {}
        self._loaded = threading.Condition()

    def read(self, line: bytes) -> bool:
        """Read a line; False when it is not one of the server's own, but something that other code has printed."""
        try:
            fields = json.loads(line)
            if "ready" in fields:
                self._start(fields["ready"])
            else:
                self._add(Event(**fields))
        except (TypeError, ValueError, KeyError, RecursionError):
            return False
        return True

    def _start(self, facts: Mapping[str, Any]) -> None:
        self.facts, self.ahead_s = dict(facts), ahead_of(facts["clock"])
        with self._loaded:
            self._pids.clear()
        self._ended.clear()
        self._started.set()

    @property
    def has_started(self) -> bool:
        """Whether the server has reported what it is, and not ended since."""
        return self._started.is_set()

    def await_facts(self, *, gone: Callable[[], str | None]) -> Mapping[str, Any]:
        """What the server reports about itself; raises `NotReadyError` when that does not come, with the reason of *gone* if there is one."""
        return wait_for(lambda: self.facts if self.has_started else None, what=FACTS, timeout_s=_FACTS_S, gone=gone)

    def _add(self, event: Event) -> None:
        if event.kind == "mark":  # perhaps of another test that uses the server, too
            if mark := self._marks.pop(event.detail["token"], None):
                mark.set()
        elif event.model is None or self._is_mine(event.model):
            with self._loaded:
                if event.kind == "load" and event.model and "pid" in event.detail:
                    self._pids[event.model] = event.detail["pid"]
                    self._loaded.notify_all()
                elif event.kind in _ENDS:
                    self._pids.pop(event.model or "", None)
            at_s = event.at_s + self.ahead_s - self._timeline.began_monotonic_s
            self._timeline.add(dataclasses.replace(event, server=self._server, at_s=at_s))

    def pid(self, identifier: str, client: ContractClient) -> int | None:
        """The process of a loaded model, in the server's own pid namespace; None when it has none."""
        self.catch_up(client)
        with self._loaded:
            self._loaded.wait_for(lambda: identifier in self._pids, timeout=_ARRIVES_S)
            return self._pids.get(identifier)

    def end(self) -> None:
        """There are no more lines: release everyone who waits for one."""
        self._started.clear()
        self._ended.set()
        for mark in list(self._marks.values()):
            mark.set()

    def catch_up(self, client: ContractClient) -> None:
        """Return when everything that the server has seen until now is on the timeline, or when it has ended."""
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
