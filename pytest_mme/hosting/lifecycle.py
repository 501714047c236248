"""The life of models on an instance: a state machine. Events in, actions out; no clock, no thread, no I/O.

Where AWS documents what the platform does, the rule is AWS's ("How Multi-Model Endpoints Work"); where it does not,
the rule is the kit's and marked *assumed* (docs/facts.md lists them).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from pytest_mme.hosting.eviction import Candidate, Policy, least_recently_used


class Phase(enum.Enum):
    """Where a model is on the instance."""

    ABSENT = "absent"
    DOWNLOADING = "downloading"
    ON_DISK = "on disk"
    LOADING = "loading"
    WAITING = "waiting for room"
    RESIDENT = "resident"
    UNLOADING = "unloading"


@dataclasses.dataclass(eq=False)
class Ticket:
    """One request, from when it asks for its model until it is finished."""

    model: str
    retried: bool = False
    since: int = 0
    """When it was admitted, in ticks of the state machine."""


# What happens


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A request asks for its model."""

    ticket: Ticket


@dataclasses.dataclass(frozen=True)
class Downloaded:
    """The archive is on disk, or `failure` holds why not."""

    model: str
    failure: Exception | None = None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The container has loaded the model, or `failure` holds why not; `no_room` when that was for lack of memory."""

    model: str
    failure: Exception | None = None
    no_room: bool = False


@dataclasses.dataclass(frozen=True)
class Unloaded:
    """The model has left memory."""

    model: str


@dataclasses.dataclass(frozen=True)
class Finished:
    """A request that was admitted is over; `lost` when the container no longer knew the model."""

    ticket: Ticket
    lost: bool = False


Event = Wanted | Downloaded | Loaded | Unloaded | Finished


# What to do


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetch the archive to disk; then `Downloaded`."""

    model: str


@dataclasses.dataclass(frozen=True)
class Load:
    """Ask the container to load the model; then `Loaded`."""

    model: str


@dataclasses.dataclass(frozen=True)
class Evict:
    """Ask the container to unload the model, to make room for another; then `Unloaded`."""

    model: str
    room_for: str


@dataclasses.dataclass(frozen=True)
class Admit:
    """Send the request to the container; then `Finished`."""

    ticket: Ticket


@dataclasses.dataclass(frozen=True)
class Refuse:
    """Give the request a failure; nothing follows."""

    ticket: Ticket
    failure: Exception


Action = Download | Load | Evict | Admit | Refuse


@dataclasses.dataclass
class _Model:
    name: str
    phase: Phase = Phase.ABSENT
    waiting: list[Ticket] = dataclasses.field(default_factory=list)
    in_flight: int = 0
    used: int = 0
    loaded: int = 0
    requests: int = 0


class Lifecycle:
    """All models of one instance."""

    def __init__(self, policy: Policy = least_recently_used) -> None:
        self._policy = policy
        self._models: dict[str, _Model] = {}
        self._tick = 0

    def phase(self, model: str) -> Phase:
        """Where a model is; `Phase.ABSENT` for one that was never wanted."""
        return self._models[model].phase if model in self._models else Phase.ABSENT

    def step(self, event: Event) -> tuple[Action, ...]:
        """Take in what happened, and return what is to be done now, in order."""
        self._tick += 1
        match event:
            case Wanted(ticket):
                return tuple(self._want(self._model(ticket.model), ticket))
            case Downloaded(model, Exception() as failure):
                return tuple(self._give_up(self._model(model), failure, Phase.ABSENT))
            case Downloaded(model):
                return (self._load(self._model(model)),)
            case Loaded(model, failure, no_room):
                return tuple(self._loaded(self._model(model), failure, no_room))
            case Unloaded(model):
                return tuple(self._unloaded(self._model(model)))
            case Finished(ticket, lost):
                return tuple(self._finished(self._model(ticket.model), ticket, lost))

    def _model(self, name: str) -> _Model:
        return self._models.setdefault(name, _Model(name))

    def _want(self, model: _Model, ticket: Ticket) -> Iterator[Action]:
        """Concurrent first requests share one download and one load (assumed)."""
        if model.phase is Phase.RESIDENT:
            yield self._admit(model, ticket)
            return
        model.waiting.append(ticket)
        if model.phase is Phase.ABSENT:
            model.phase = Phase.DOWNLOADING
            yield Download(model.name)
        elif model.phase is Phase.ON_DISK:
            yield self._load(model)

    def _admit(self, model: _Model, ticket: Ticket) -> Admit:
        model.in_flight += 1
        model.requests += 1
        model.used = ticket.since = self._tick
        return Admit(ticket)

    def _load(self, model: _Model) -> Load:
        model.phase = Phase.LOADING
        return Load(model.name)

    def _loaded(self, model: _Model, failure: Exception | None, no_room: bool) -> Iterator[Action]:
        if failure is None:
            model.phase, model.loaded, model.used, model.requests = Phase.RESIDENT, self._tick, self._tick, 0
            tickets, model.waiting = model.waiting, []
            yield from (self._admit(model, ticket) for ticket in tickets)
        elif no_room:
            model.phase = Phase.WAITING
            yield from self._make_room(model, failure)
        else:
            yield from self._give_up(model, failure, Phase.ON_DISK)

    def _make_room(self, model: _Model, failure: Exception) -> Iterator[Action]:
        """Evict one idle model and try again once it is gone, until nothing idle is left (assumed)."""
        try:
            victim = self._victim()
        except Exception as error:  # noqa: BLE001  the policy may be the user's: the requests that wait must not wait for ever
            yield from self._give_up(model, error, Phase.ON_DISK)
            return
        if victim is not None:
            self._models[victim].phase = Phase.UNLOADING
            yield Evict(victim, room_for=model.name)
        elif all(other.phase is not Phase.UNLOADING for other in self._models.values()):
            yield from self._give_up(model, failure, Phase.ON_DISK)

    def _victim(self) -> str | None:
        """The policy's choice among the idle models: one with a request in flight is never evicted (assumed)."""
        candidates = [
            Candidate(model.name, used=model.used, loaded=model.loaded, requests=model.requests)
            for model in self._models.values()
            if model.phase is Phase.RESIDENT and not model.in_flight
        ]
        victim = self._policy(candidates)
        names = [candidate.model for candidate in candidates]
        if victim is not None and victim not in names:
            raise ValueError(f"the eviction policy chose {victim!r}, but it may choose among {names}, or None")
        return victim

    def _unloaded(self, model: _Model) -> Iterator[Action]:
        """An evicted model stays on disk. Models that wait for room are loaded, then this one if it is wanted again."""
        model.phase = Phase.ON_DISK
        for other in self._models.values():
            if other.phase is Phase.WAITING:
                yield self._load(other)
        if model.waiting:
            yield self._load(model)

    def _finished(self, model: _Model, ticket: Ticket, lost: bool) -> Iterator[Action]:
        """A model that the container has lost is loaded once more for the request that found it lost (assumed)."""
        model.in_flight -= 1
        model.used = self._tick
        if not lost:
            return
        ticket.retried = True
        if model.phase is Phase.RESIDENT and ticket.since >= model.loaded:  # else it has come back since
            model.phase = Phase.ON_DISK
        yield from self._want(model, ticket)

    def _give_up(self, model: _Model, failure: Exception, phase: Phase) -> Iterator[Action]:
        model.phase = phase
        tickets, model.waiting = model.waiting, []
        yield from (Refuse(ticket, failure) for ticket in tickets)
