"""A simulated endpoint: a platform, one server, clients. What really happened is known, since it happened here.

Time passes in steps of 20 ms, so that moments are either the same or far enough apart for every observer. A `Defect` is
one way in which a real endpoint goes wrong; without any, the world is sound.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

STEP_S = 0.02
RETRY_S = 0.1
"""How long after its first try began a client makes the second."""

Defect = Literal[
    "none",
    "wrong predictions",
    "empty predictions",
    "evicts the most recently used",
    "evicts busy models",
    "room for one more",
    "room shrinks",
    "loads twice",
    "drops requests at an unload",
    "one request at a time",
    "a death takes others along",
    "a death breaks others' requests",
    "never comes back",
    "comes back late",
    "comes back wrong",
    "loads stall others",
    "the first model slows others",
]
Policy = Literal["lru", "fifo", "lfu"]
Phase = Literal["absent", "downloading", "on disk", "waiting", "loading", "resident", "evicted", "unloaded", "broken"]


@dataclasses.dataclass(frozen=True)
class ModelSetting:
    """How fast a model is; seconds."""

    name: str
    work_s: float
    load_s: float


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request of the workload."""

    at_s: float
    model: str
    by_kit: bool
    throttled: bool = False
    """Whether the client's first try is refused, and its second one is this request."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Everything that a run is made of; the same setting runs the same."""

    models: Sequence[ModelSetting]
    room: int
    policy: Policy
    requests: Sequence[Asked]
    deaths: Sequence[tuple[float, str]]
    unloads: Sequence[tuple[float, str]]
    defect: Defect
    since_s: float
    """From when on the defect shows."""


@dataclasses.dataclass(eq=False)
class Request:
    """What happened to a request."""

    asked: Asked
    number: int
    done_s: float = math.inf
    outcome: str = "ok"
    predicted: Literal["right", "wrong", "nothing"] = "right"
    admitted_s: list[float] = dataclasses.field(default_factory=list)
    finished_s: list[float] = dataclasses.field(default_factory=list)
    worked: tuple[float, float] | None = None
    ended: bool = False

    @property
    def model(self) -> str:
        return self.asked.model

    @property
    def seconds(self) -> float:
        return self.done_s - self.asked.at_s


@dataclasses.dataclass
class Stay:
    """A model was in memory."""

    model: str
    came_s: float
    left_s: float = math.inf


@dataclasses.dataclass
class Move:
    """A download, a load, an unload or an eviction."""

    kind: Literal["download", "load", "unload", "evict"]
    model: str
    began_s: float
    done_s: float
    outcome: str = "ok"
    room_for: str = ""
    occupying: int = 0
    """How many models took room when an eviction was decided."""
    choice: bool = False
    """Whether there was another idle model."""
    busy: bool = False
    right_by: frozenset[Policy] = frozenset()
    """The policies that would have chosen so."""


@dataclasses.dataclass
class _Model:
    setting: ModelSetting
    phase: Phase = "absent"
    waiting: list[Request] = dataclasses.field(default_factory=list)
    in_flight: list[Request] = dataclasses.field(default_factory=list)
    used_s: float = 0.0
    loaded_s: float = 0.0
    count: int = 0
    wrong: bool = False
    """Whether it predicts wrongly since it was loaded."""
    stay: Stay | None = None
    unload_began_s: float = 0.0


class World:
    """Runs a setting; afterwards it has the truth."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.now_s = 0.0
        self.requests = [Request(asked, number) for number, asked in enumerate(setting.requests)]
        self.stays: list[Stay] = []
        self.moves: list[Move] = []
        self.deaths: list[tuple[float, str]] = []
        self.most = 0
        self._models = {one.name: _Model(one) for one in setting.models}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._queue: list[Request] = []
        self._at_work: list[Request] = []
        for request in self.requests:
            self._at(request.asked.at_s + request.asked.throttled * RETRY_S, self._arrive, request)
        for at_s, name in setting.deaths:
            self._at(at_s, self._die, self._models[name])
        for at_s, name in setting.unloads:
            self._at(at_s, self._unload, self._models[name])
        while self._events:
            self.now_s, _, happen = heapq.heappop(self._events)
            happen()

    @property
    def end_s(self) -> float:
        return self.now_s

    def resident(self) -> list[str]:
        return [name for name, model in self._models.items() if model.phase == "resident"]

    def _at(self, at_s: float, what: Callable[[Any], None], about: object) -> None:
        heapq.heappush(self._events, (on_step(at_s), next(self._numbers), lambda: what(about)))

    def _after(self, seconds: float, what: Callable[[Any], None], about: object) -> None:
        self._at(self.now_s + max(STEP_S, seconds), what, about)

    def _has(self, defect: Defect) -> bool:
        return self.setting.defect == defect and self.now_s >= self.setting.since_s

    # Requests

    def _arrive(self, request: Request) -> None:
        model = self._models[request.model]
        if model.phase == "resident":
            self._admit(request)
            return
        if model.phase in ("unloaded", "broken"):
            self._end(request, "424 ModelError")
            return
        model.waiting.append(request)
        if model.phase == "absent":
            self._download(model)
        elif model.phase == "on disk":
            self._load(model)

    def _admit(self, request: Request) -> None:
        model = self._models[request.model]
        request.admitted_s.append(self.now_s)
        model.in_flight.append(request)
        model.used_s = self.now_s
        model.count += 1
        self._queue.append(request)
        self._work()

    def _work(self) -> None:
        """Take from the queue what may be worked on now."""
        for request in list(self._queue):
            if self._at_work and self.setting.defect == "one request at a time":
                return
            self._queue.remove(request)
            self._at_work.append(request)
            request.worked = self.now_s, math.inf
            self._after(self._models[request.model].setting.work_s * self._slowness(request), self._finish, request)

    def _slowness(self, request: Request) -> float:
        loads = any(other.phase == "loading" for name, other in self._models.items() if name != request.model)
        first = self.setting.models[0].name
        hogging = request.model != first and any(one.model == first for one in self._at_work)
        slow = (self._has("loads stall others") and loads) or (self._has("the first model slows others") and hogging)
        return 12.0 if slow else 1.0

    def _finish(self, request: Request) -> None:
        if request.ended:
            return
        model = self._models[request.model]
        if self._has("wrong predictions") or model.wrong:
            request.predicted = "wrong"
        elif self._has("empty predictions"):
            request.predicted = "nothing"
        self._end(request, "ok")

    def _end(self, request: Request, outcome: str) -> None:
        model = self._models[request.model]
        request.ended, request.outcome, request.done_s = True, outcome, self.now_s
        if request in model.in_flight:
            model.in_flight.remove(request)
            request.finished_s.append(self.now_s)
            model.used_s = self.now_s
        if request.worked:
            request.worked = request.worked[0], self.now_s
        for queue in (self._queue, self._at_work, model.waiting):
            if request in queue:
                queue.remove(request)
        self._work()
        if model.phase == "unloaded" and not model.in_flight and model.stay is not None:
            self._leave(model)

    # Models

    def _download(self, model: _Model) -> None:
        model.phase = "downloading"
        for _ in range(1 + self._has("loads twice")):
            self.moves.append(Move("download", model.setting.name, self.now_s, self.now_s + 5 * STEP_S))
        self._after(5 * STEP_S, self._load, model)

    def _load(self, model: _Model) -> None:
        if self._occupying() < self._room():
            model.phase = "loading"
            ends_s = on_step(self.now_s + max(STEP_S, model.setting.load_s))
            for _ in range(1 + self._has("loads twice")):
                self.moves.append(Move("load", model.setting.name, self.now_s, ends_s))
            self._after(model.setting.load_s, self._come, model)
            return
        model.phase = "waiting"
        self.moves.append(Move("load", model.setting.name, self.now_s, self.now_s + STEP_S, outcome="507"))
        self._after(STEP_S, self._make_room, model)

    def _make_room(self, model: _Model) -> None:
        if model.phase != "waiting":
            return
        victim = self._victim(model)
        if victim is not None:
            self._evict(victim, model)
        elif not any(other.phase == "evicted" for other in self._models.values()):
            model.phase = "on disk"
            for request in list(model.waiting):
                self._end(request, "424 ModelError")

    def _occupying(self) -> int:
        return sum(model.phase == "loading" or model.stay is not None for model in self._all())

    def _all(self) -> Sequence[_Model]:
        return list(self._models.values())

    def _room(self) -> int:
        shrunk = self._has("room shrinks") and self.setting.room > 1
        return self.setting.room + self._has("room for one more") - shrunk

    def _victim(self, room_for: _Model) -> _Model | None:
        resident = [model for model in self._all() if model.phase == "resident" and model is not room_for]
        idle = [model for model in resident if not model.in_flight]
        busy = [model for model in resident if model.in_flight]
        if self._has("evicts busy models") and busy:
            return busy[0]
        if not idle:
            return None
        if self._has("evicts the most recently used"):
            return max(idle, key=lambda model: model.used_s)
        return min(idle, key=lambda model: key_of(self.setting.policy, model))

    def _evict(self, victim: _Model, room_for: _Model) -> None:
        idle = [model for model in self._all() if model.phase == "resident" and not model.in_flight]
        right: frozenset[Policy] = frozenset(
            policy
            for policy in POLICIES
            if idle and key_of(policy, victim) <= min(key_of(policy, model) for model in idle)
        )
        self.moves.append(
            Move(
                "evict",
                victim.setting.name,
                self.now_s,
                self.now_s + 2 * STEP_S,
                room_for=room_for.setting.name,
                occupying=self._occupying(),
                choice=len([one for one in idle if one is not victim]) > 0,
                busy=bool(victim.in_flight),
                right_by=right if not victim.in_flight else frozenset(),
            )
        )
        victim.phase = "evicted"
        self._after(2 * STEP_S, self._evicted, victim)

    def _evicted(self, victim: _Model) -> None:
        for request in list(victim.in_flight):
            self._end(request, "424 ModelError")
        victim.phase = "on disk"
        self._leave(victim)
        for model in [*(one for one in self._all() if one is not victim), victim]:
            if model.phase in ("waiting", "on disk") and model.waiting:
                self._load(model)

    def _come(self, model: _Model) -> None:
        model.phase = "resident"
        model.loaded_s = model.used_s = self.now_s
        model.count = 0
        waiting, model.waiting = model.waiting, []
        model.stay = Stay(model.setting.name, self.now_s)
        self.stays.append(model.stay)
        self.most = max(self.most, sum(one.stay is not None for one in self._all()))
        for request in waiting:
            self._admit(request)

    def _leave(self, model: _Model) -> None:
        if model.stay is not None:
            model.stay.left_s = self.now_s
            model.stay = None
            if model.phase == "unloaded":
                self.moves.append(Move("unload", model.setting.name, model.unload_began_s, self.now_s))

    def _unload(self, model: _Model) -> None:
        """The test unloads a model for good: what is under way ends first."""
        if model.phase != "resident":
            return
        model.phase = "unloaded"
        model.unload_began_s = self.now_s
        for request in model.in_flight:
            if self._has("drops requests at an unload"):
                self._after(STEP_S, self._drop, request)
        if not model.in_flight:
            self._after(STEP_S, self._leave, model)

    def _drop(self, request: Request) -> None:
        if not request.ended:
            self._end(request, "424 ModelError")

    def _die(self, model: _Model) -> None:
        if model.phase != "resident":
            return
        self._end_process(model)
        if self._has("never comes back"):
            model.phase = "broken"
        if self._has("comes back late"):
            model.setting = dataclasses.replace(model.setting, load_s=model.setting.load_s + 20.0)
        model.wrong = self._has("comes back wrong")
        others = [other for other in self._all() if other.phase == "resident"]
        if self._has("a death takes others along") and others:
            self._end_process(others[0])
        if self._has("a death breaks others' requests"):
            for request in [request for other in others for request in other.in_flight]:
                self._end(request, "424 ModelError")

    def _end_process(self, model: _Model) -> None:
        self.deaths.append((self.now_s, model.setting.name))
        model.phase = "on disk"
        for request in list(model.in_flight):
            self._end(request, "424 ModelError")
        self._leave(model)


POLICIES: tuple[Policy, ...] = ("lru", "fifo", "lfu")


def on_step(at_s: float) -> float:
    return round(at_s / STEP_S) * STEP_S


def key_of(policy: Policy, model: _Model) -> tuple[float, float]:
    """What a policy compares; equal keys are equally right."""
    if policy == "lru":
        return 0.0, model.used_s
    if policy == "fifo":
        return 0.0, model.loaded_s
    return model.count, model.used_s
