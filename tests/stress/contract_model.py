"""The container contract as a pure state machine: which ids are loaded, and what each call must answer.

Calls that are made at the same time are judged together: what they answered must be what they would have answered one
after the other, in some order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = int | tuple[Any, ...]
"""What was answered: the status, and whatever else of the answer is judged."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """What a load may be pointed at."""

    name: str
    units: int = 0
    """How much of the server's room it takes; tiny models are not counted."""
    processes: int = 1
    refused: Literal[404, 500] | None = None
    """Why it cannot be loaded, whatever room there is."""


@dataclasses.dataclass(frozen=True)
class Load:
    """`POST /models`."""

    identifier: str
    archive: Archive
    number: int = 0
    """Names what it loads: an id may be loaded many times."""


@dataclasses.dataclass(frozen=True)
class Unload:
    """`DELETE /models/ID`."""

    identifier: str


@dataclasses.dataclass(frozen=True)
class Get:
    """`GET /models/ID`."""

    identifier: str


@dataclasses.dataclass(frozen=True)
class ListAll:
    """`GET /models`."""


@dataclasses.dataclass(frozen=True)
class Invoke:
    """`POST /models/ID/invoke`."""

    identifier: str
    x: float


@dataclasses.dataclass(frozen=True)
class Kill:
    """SIGKILL to a process of what is loaded under an id when the calls begin; nothing where nothing is."""

    identifier: str
    which: int = 0
    """Of a model that has several processes."""
    number: int | None = None
    """What it kills, by the number of its load."""


Call: TypeAlias = Load | Unload | Get | ListAll | Invoke | Kill
Made: TypeAlias = tuple[Call, Outcome]


@dataclasses.dataclass(frozen=True)
class Contract:
    """A server with so much room and these models, by their ids."""

    room: int
    loaded: Mapping[str, Load] = dataclasses.field(default_factory=dict)

    @property
    def processes(self) -> int:
        """How many processes hold the models."""
        return sum(load.archive.processes for load in self.loaded.values())

    def explain(self, made: Sequence[Made], before: Sequence[Made] = ()) -> Iterator[Contract]:
        """Where calls made at the same time may have led: one end for each order that gives their outcomes."""
        if not made:
            yield self
        for index, (call, outcome) in enumerate(made):
            others = [*made[:index], *made[index + 1 :]]
            for allowed, after in self.allowed(call, [*before, *others]):
                if allowed == outcome:
                    yield from after.explain(others, [*before, made[index]])

    def allowed(self, call: Call, meanwhile: Sequence[Made]) -> Iterator[tuple[Outcome, Contract]]:
        """What *call* may answer now, and what is loaded then; *meanwhile*: the other calls made at the same time."""
        if isinstance(call, Load):
            yield from self._load(call, meanwhile)
        elif isinstance(call, Kill):
            yield from self._kill(call)
        elif isinstance(call, ListAll):
            yield (200, frozenset(self.loaded)), self
        elif isinstance(call, Invoke):
            yield from self._invoke(call, meanwhile)
        elif call.identifier not in self.loaded:
            yield 404, self
        else:
            yield 200, self.without(call.identifier) if isinstance(call, Unload) else self

    def _load(self, call: Load, meanwhile: Sequence[Made]) -> Iterator[tuple[Outcome, Contract]]:
        if call.identifier in self.loaded or _fails_to_load(call.identifier, meanwhile):
            yield 409, self
        if call.identifier in self.loaded:
            return
        if call.archive.refused:
            yield call.archive.refused, self
        elif not self.fits(call.archive):
            yield 507, self
        else:
            yield 200, dataclasses.replace(self, loaded={**self.loaded, call.identifier: call})

    def fits(self, archive: Archive) -> bool:
        """Whether there is room for it."""
        return sum(load.archive.units for load in self.loaded.values()) + archive.units <= self.room

    def _invoke(self, call: Invoke, meanwhile: Sequence[Made]) -> Iterator[tuple[Outcome, Contract]]:
        load = self.loaded.get(call.identifier)
        yield (404 if load is None else (200, load.archive.name)), self
        if any(isinstance(other, Kill) and other.identifier == call.identifier for other, _ in meanwhile):
            yield 500, self

    def _kill(self, call: Kill) -> Iterator[tuple[Outcome, Contract]]:
        load = self.loaded.get(call.identifier)
        dies = load is not None and load.number == call.number
        yield 0, self.without(call.identifier) if dies else self

    def without(self, identifier: str) -> Contract:
        """When the model of that id is gone."""
        return dataclasses.replace(self, loaded={one: load for one, load in self.loaded.items() if one != identifier})


def _fails_to_load(identifier: str, meanwhile: Sequence[Made]) -> bool:
    """Whether another load of that id was under way, so that it is refused, and came to nothing."""
    return any(
        isinstance(call, Load) and call.identifier == identifier and outcome in (404, 500, 507)
        for call, outcome in meanwhile
    )
