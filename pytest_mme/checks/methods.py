"""The checks as methods of servers and endpoints, which have a timeline."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol

from pytest_mme import checks
from pytest_mme.checks.soft import softly
from pytest_mme.timeline.calls import plain_call
from pytest_mme.timeline.events import Event, Timeline

P = ParamSpec("P")


def _method(check: Callable[Concatenate[Iterable[Event], P], None]) -> Callable[Concatenate[Checked, P], None]:
    """The check as a method: it judges its owner's timeline, and records there that it did, so that a replay can."""
    hard: Callable[..., None] = check

    @functools.wraps(check)
    def judge(owner: Checked, /, *arguments: P.args, **options: P.kwargs) -> None:
        __tracebackhide__ = True
        events, at_s = owner.timeline, owner.recording.now_s()
        detail: dict[str, Any] = {"call": plain_call(check.__name__, arguments, options)}
        try:
            with softly(bool(options.get("soft"))):
                try:
                    hard(events, *arguments, **{**options, "soft": False})
                except AssertionError as error:
                    detail["failed"] = str(error)
                    raise
        finally:
            owner.recording.record(
                "mark", source="test", server=owner.name, at_s=at_s, outcome=check.__name__, detail=detail
            )

    parameters = list(inspect.signature(check).parameters.values())
    owner = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    vars(judge)["__signature__"] = inspect.signature(check).replace(parameters=[owner, *parameters[1:]])
    return judge


class _Running(Protocol):
    """What is needed of a server that runs."""

    def catch_up(self) -> None:
        """Return when everything that the server has seen until now is on the timeline."""


class Checked:
    """Has a timeline, and the checks bound to it: `endpoint.check_evicted(model)`."""

    name: str
    running: _Running
    """The server behind it."""
    recording: Timeline
    """The timeline of the whole test, on which its events are recorded."""

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to this server or endpoint until now, in order."""
        self.running.catch_up()
        return self.recording.of(self.name)

    @property
    def unfinished(self) -> Sequence[Event]:
        """The calls that are under way, each as an event that has lasted until now, with the outcome ``under way``."""
        return self.recording.unfinished(self.name)

    check_answers = _method(checks.check_answers)
    check_capacity = _method(checks.check_capacity)
    check_concurrent = _method(checks.check_concurrent)
    check_drained = _method(checks.check_drained)
    check_evicted = _method(checks.check_evicted)
    check_evictions = _method(checks.check_evictions)
    check_fair = _method(checks.check_fair)
    check_fifo = _method(checks.check_fifo)
    check_isolated = _method(checks.check_isolated)
    check_lfu = _method(checks.check_lfu)
    check_loads_once = _method(checks.check_loads_once)
    check_lru = _method(checks.check_lru)
    check_memory_bounded = _method(checks.check_memory_bounded)
    check_no_stall = _method(checks.check_no_stall)
    check_no_thrash = _method(checks.check_no_thrash)
    check_recovers = _method(checks.check_recovers)
    check_resident = _method(checks.check_resident)
