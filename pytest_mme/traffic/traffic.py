"""Sends loads to a server or an endpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from pytest_mme.models.builder import Model
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.timeline.observed import Loads
from pytest_mme.traffic.arrivals import Stage, due_times
from pytest_mme.traffic.drive import Drive, Ticket
from pytest_mme.traffic.load import Load, Sent
from pytest_mme.traffic.mixes import Mix

Instance = Callable[[Model], Any]
"""Returns the one instance of a request to a model."""


class Target(Protocol):
    """A `Server` or an `Endpoint`."""

    recording: Timeline

    @property
    def name(self) -> str:
        """Its name on the timeline."""

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to it."""

    def model(self, model: Model | str) -> Model:
        """The model of that name; a model itself as it is."""

    def invoke(self, model: Model, x: Any) -> Any:
        """Send *model* the one instance *x*."""


def in_turn() -> Instance:
    """Return what draws each model's own instances in turn, those with a known prediction; ``[1.0]`` where it has none."""
    numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)  # many threads may call `next` of one

    def instance(model: Model) -> Any:
        examples = model.examples or ([1.0],)
        return examples[next(numbers[model.name]) % len(examples)]

    return instance


class Traffic:
    """Loads on one server or endpoint. Failed requests are counted, not raised; each load leaves a mark on the timeline."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def closed(
        self,
        mix: Mix[Model | str],
        *,
        clients: int = 8,
        requests: int | None = None,
        seconds: float | None = None,
        instance: Instance | None = None,
        name: str = "closed load",
    ) -> Load:
        """Send requests from *clients* at once, each of which waits for a reply before it sends the next request.

        Each request has what *instance* returns for its model, by default one of the inputs whose prediction is known,
        in turn. It ends after so many *requests*, so many *seconds*, or with the mix. Raises ValueError without either bound.
        """
        if requests is None and seconds is None:
            raise ValueError("a closed load needs an end: requests=, seconds=, or both")
        if seconds is not None and seconds <= 0:
            raise ValueError(f"seconds={seconds}: give more than 0")
        tickets = (Ticket(model, None) for model in itertools.islice(self._models(mix), requests))
        return self._drive(tickets, clients, math.inf if seconds is None else seconds, instance, f"{name}, {mix.name}")

    def open(
        self,
        mix: Mix[Model | str],
        *stages: Stage,
        clients: int = 64,
        instance: Instance | None = None,
        name: str = "open load",
    ) -> Load:
        """Send requests at their own rate, whatever the server does: *stages* by `hold`, `ramp` and `burst`.

        *instance* as in `closed`. Latencies count from when a request was due; when none of *clients* is free then, it is sent late.
        """
        if not stages:
            raise ValueError(
                "an open load needs stages: hold(rate, seconds), ramp(rate, rate, seconds), burst(requests)"
            )
        tickets = (Ticket(model, due_s) for model, due_s in zip(self._models(mix), due_times(stages), strict=False))
        return self._drive(tickets, clients, math.inf, instance, f"{name}, {mix.name}")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Mark the time of the block on the timeline, for requests that are sent by other means."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._mark(name, time.monotonic() - began)

    def _models(self, mix: Mix[Model | str]) -> Iterator[Model]:
        return map(self._target.model, mix.start())

    def _drive(
        self, tickets: Iterator[Ticket], clients: int, longest_s: float, instance: Instance | None, name: str
    ) -> Load:
        if clients < 1:
            raise ValueError(f"clients={clients}: give 1 or more")
        target, draw = self._target, instance or in_turn()
        drive = Drive(
            lambda model: target.invoke(model, draw(model)),
            tickets,
            clients=clients,
            longest_s=longest_s,
            name=name,
        )
        load = drive.run()
        self._mark(name, load.seconds, summary=str(load))
        return self._with_hits(load, drive.began_s - self._target.recording.began_monotonic_s)

    def _mark(self, name: str, seconds: float, **detail: Any) -> None:
        self._target.recording.record(
            "mark", source="test", server=self._target.name, outcome=name, seconds=seconds, detail=detail
        )

    def _with_hits(self, load: Load, began_s: float) -> Load:
        """Note for each request whether its model was loaded meanwhile; *began_s*: the load's beginning on the timeline."""
        loads = Loads(self._target.timeline)
        if not loads:
            return load
        name = self._target.name

        def hit(one: Sent) -> bool:
            waited = loads.ended(name, one.model, began_s + one.sent_s, began_s + one.answered_s)
            return one.outcome == "ok" and not waited

        return dataclasses.replace(load, sent=[dataclasses.replace(one, hit=hit(one)) for one in load])
