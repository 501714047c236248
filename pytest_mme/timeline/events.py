"""`Event` and `Timeline`: all that the kit observes is recorded here, and checks read nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

Source = Literal["test", "client", "hosting", "server", "worker", "engine", "probe"]
# fmt: off
Kind = Literal[
    "download", "load", "unload", "evict", "invoke", "attempt", "crash", "oom",
    "start", "stop", "restart", "replace", "ping", "sample", "fault", "mark", "deviation",
]
# fmt: on
NO_ANSWER = "no answer"
"""The outcome of a call that ended without a reply."""
NO_PREDICTION = "no prediction"
"""The outcome of a request whose reply has the status 200 and holds no prediction."""
UNDER_WAY = "under way"
"""The outcome of a call that has not ended yet; only `Timeline.unfinished` has such events."""
_SOURCES, _KINDS = frozenset(get_args(Source)), frozenset(get_args(Kind))


def clock() -> dict[str, Any]:
    """The monotonic clock that times events: the id of the machine's boot, and what the clock shows now, in seconds."""
    return {"boot": _boot(), "now_s": time.monotonic()}


def ahead_of(other: Mapping[str, Any]) -> float:
    """How many seconds this machine's clock is ahead of *other*, which `clock` just gave; 0 when it is the same clock."""
    boot = _boot()
    return 0.0 if boot and boot == other["boot"] else time.monotonic() - other["now_s"]


def _boot() -> str | None:
    """The id of this boot of the kernel; None on other systems than Linux. Source: Linux, random(4)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened."""

    at_s: float
    """When it ended, in seconds since the timeline began, on the observer's monotonic clock."""
    source: Source
    """The observer."""
    kind: Kind
    server: str | None = None
    instance: str | None = None
    model: str | None = None
    outcome: str = "ok"
    """`ok`, or one word for the failure: an HTTP status, a signal, an error code. Of a mark or a fault, its name."""
    seconds: float | None = None
    """How long it took; None for what takes no time, or was not measured."""
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """More facts, by kind. A death that ends all models of the server has `models`: ``all``."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or self.source not in _SOURCES:
            raise ValueError(f"no such event: kind {self.kind!r} seen by {self.source!r}")

    @property
    def began_s(self) -> float:
        """When it began: `at_s` less `seconds`."""
        return self.at_s - (self.seconds or 0.0)

    def to_json(self) -> str:
        """One line of JSON, without the fields that are empty."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, {})}
        return json.dumps(fields, default=str)

    @classmethod
    def from_json(cls, line: str | bytes) -> Event:
        """The event that `to_json` wrote; raises ValueError when *line* is not one."""
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"not an event: {error}: {line!r}") from error


class Timeline(Sequence[Event]):
    """The events of a test or of one of its servers, in the order of their times; safe from many threads.

    Times are relative to the moment the timeline was made, which `began_wall` gives as a date.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.began_monotonic_s = time.monotonic()
        self.began_wall = datetime.now(timezone.utc)
        self._lock = threading.Lock()
        self._events: list[Event] = list(events)
        self._under_way: dict[object, tuple[float, Event]] = {}
        self._names: dict[str, str] = {}

    def now_s(self) -> float:
        """Seconds since the timeline began."""
        return time.monotonic() - self.began_monotonic_s

    def record(self, kind: Kind, *, source: Source, at_s: float | None = None, **fields: Any) -> Event:
        """Add an event that ended at *at_s*, by default now."""
        event = Event(kind=kind, source=source, at_s=self.now_s() if at_s is None else at_s, **fields)
        self.add(event)
        return event

    def add(self, event: Event) -> None:
        """Add an event; its model's id becomes the name that `name_model` gave it."""
        with self._lock:
            name = self._names.get(event.model or "")
            self._events.append(event if name is None else dataclasses.replace(event, model=name))

    @contextlib.contextmanager
    def under_way(self, kind: Kind, **fields: Any) -> Iterator[None]:
        """Let `unfinished` have a call until the block ends."""
        call, began_monotonic_s = object(), time.monotonic()
        event = Event(kind=kind, at_s=self.now_s(), **fields, outcome=UNDER_WAY)
        with self._lock:
            self._under_way[call] = began_monotonic_s, event
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[call]

    def unfinished(self, server: str) -> list[Event]:
        """The calls to one server that have begun since the timeline did and have not ended, as if they ended now."""
        with self._lock:
            calls = list(self._under_way.values())
        now_s, now_monotonic_s = self.now_s(), time.monotonic()
        return [
            dataclasses.replace(event, at_s=now_s, seconds=now_monotonic_s - began_monotonic_s)
            for began_monotonic_s, event in calls
            if event.server == server and began_monotonic_s >= self.began_monotonic_s
        ]

    def name_model(self, identifier: str, name: str) -> None:
        """Let events that are added from now on have *name*, which the test knows, for the id that a server gives a model."""
        with self._lock:
            self._names[identifier] = name

    def named_in(self, text: str) -> str | None:
        """The model whose id occurs in *text*, such as a process's command line."""
        with self._lock:
            return next((name for identifier, name in self._names.items() if identifier in text), None)

    def of(self, server: str) -> tuple[Event, ...]:
        """The events of one server or endpoint, in order."""
        return tuple(event for event in self if event.server == server)

    def _in_order(self) -> list[Event]:
        with self._lock:
            return sorted(self._events, key=lambda event: event.at_s)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._in_order())

    def __len__(self) -> int:
        with self._lock:
            return len(self._events)

    def __getitem__(self, index: Any) -> Any:
        return self._in_order()[index]

    def to_jsonl(self) -> str:
        """The timeline as JSON lines: the wall-clock anchor, then the events."""
        return "\n".join([json.dumps({"began": self.began_wall.isoformat()}), *(event.to_json() for event in self)])

    @classmethod
    def from_jsonl(cls, text: str) -> Timeline:
        """The timeline that `to_jsonl` wrote; raises ValueError when *text* is not one."""
        head, *lines = text.splitlines() or [""]
        timeline = cls(Event.from_json(line) for line in lines if line.strip())
        try:
            timeline.began_wall = datetime.fromisoformat(json.loads(head)["began"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a timeline: its first line is {head!r}") from error
        return timeline
