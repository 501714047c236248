"""The timeline of a server that several tests use, one after the other: each of them sees its own slice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pytest_mme.timeline.events import Event, Kind, Source, Timeline
from pytest_mme.timeline.observed import hosted
from pytest_mme.timeline.residency import Change, changes

BEFORE = "in_memory"
"""The detail of a load that an earlier test has seen: the model was in memory when the slice began."""
_REQUESTS: tuple[Kind, ...] = ("invoke", "attempt")
_USES: tuple[Source, ...] = ("test", "client", "hosting")
"""Who observes what a test does with a server; the others observe what the server does by itself, too."""


class SharedTimeline(Timeline):
    """Shows the slice of the test that runs: what happened since it began, and what was in memory then.

    A model that was in memory has a `load` at 0 s, without a duration: its details say when it was loaded and last used,
    in seconds before the slice, and how many requests it has had. What ended before the slice began is not in it, nor is a
    request that began before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changing = threading.Lock()
        self._slice = Timeline()
        self._test: Timeline | None = None
        self._on_use: Callable[[], None] | None = None
        self._names_given: dict[str, str] = {}

    def begin(self, clock: Timeline, *, on_use: Callable[[], None] | None = None) -> None:
        """Begin another slice, whose times are those of *clock*; *on_use* is called when a test first uses the server."""
        with self._changing:
            before, self._slice, self._test, self._on_use = self._slice, Timeline(), None, on_use
            self.began_monotonic_s = self._slice.began_monotonic_s = clock.began_monotonic_s
            self.began_wall = self._slice.began_wall = clock.began_wall
            for identifier, name in self._names_given.items():
                self._slice.name_model(identifier, name)
            for event in _still_in_memory(before, before.began_monotonic_s - clock.began_monotonic_s):
                self._slice.add(event)

    def show_in(self, test: Timeline) -> None:
        """Let the timeline of a test have this slice: what is in it already, and what is added to it."""
        with self._changing:
            self._on_use, self._test = None, test
            for identifier, name in self._names_given.items():
                test.name_model(identifier, name)
            for event in self._slice:
                self._add_to_the_test(event)

    def end(self) -> None:
        """The test is over: what is added from now on is not shown in its timeline any more."""
        with self._changing:
            self._on_use = self._test = None

    def in_memory_before(self) -> list[str]:
        """The models that were in memory when the slice began, in the order in which they had been loaded."""
        return [str(event.model) for event in self._slice if BEFORE in event.detail]

    def in_memory(self) -> list[str]:
        """The models that are in memory now, in the order in which they were loaded."""
        return [change.model for change in _latest(self._slice) if change.resident]

    def add(self, event: Event) -> None:
        """Add an event to the slice, unless it is another test's: it ended before the slice began, or is its request."""
        with self._changing:
            event = dataclasses.replace(event, at_s=min(event.at_s, self.now_s()))  # timed before the slice changed
            if (event.began_s if event.kind in _REQUESTS else event.at_s) < 0:
                return
            self._slice.add(event)
            self._add_to_the_test(event)
            on_use = self._on_use if event.source in _USES else None
        if on_use is not None:
            on_use()

    def _add_to_the_test(self, event: Event) -> None:
        if self._test is not None:
            later_s = self.began_monotonic_s - self._test.began_monotonic_s
            self._test.add(dataclasses.replace(event, at_s=event.at_s + later_s))

    def name_model(self, identifier: str, name: str) -> None:
        """Let the events of this slice and of later ones have *name* for the id that the server gives a model."""
        super().name_model(identifier, name)
        with self._changing:
            self._names_given[identifier] = name
            for timeline in filter(None, (self._slice, self._test)):
                timeline.name_model(identifier, name)

    def of(self, server: str) -> tuple[Event, ...]:
        """The events of the slice that concern one server or endpoint, in order."""
        return self._slice.of(server)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._slice)

    def __len__(self) -> int:
        return len(self._slice)

    def __getitem__(self, index: Any) -> Any:
        return self._slice[index]

    def to_jsonl(self) -> str:
        """The slice as JSON lines."""
        return self._slice.to_jsonl()


def _latest(events: Iterable[Event]) -> list[Change]:
    """The latest that is known of each model, in the order of time."""
    latest = {change.model: change for change in changes(events)}
    return sorted(latest.values(), key=lambda change: change.event.at_s)


def _still_in_memory(events: Sequence[Event], earlier_s: float) -> Iterator[Event]:
    """A load for each model that is in memory at the end of *events*, for the beginning of the next slice.

    *earlier_s*: what the times of *events* are by the clock of that slice.
    """
    requests = hosted(events)
    for change in _latest(events):
        if change.resident:
            event = change.event
            mine = [one.at_s for one in requests if one.model == change.model and one.at_s >= event.at_s]
            last_used_s = max([event.detail.get("last_used_s", event.at_s), *mine])
            detail = {
                BEFORE: "before this test",
                "loaded_s": round(event.detail.get("loaded_s", event.at_s) + earlier_s, 3),
                "last_used_s": round(last_used_s + earlier_s, 3),
                "requests": event.detail.get("requests", 0) + len(mine),
                **{name: value for name, value in event.detail.items() if name == "archive"},
            }
            yield dataclasses.replace(event, model=change.model, at_s=0.0, seconds=None, detail=detail)
