"""The checks as methods of what has a timeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, overload

from pytest_mme import checks
from pytest_mme.checks.soft import softly
from pytest_mme.timeline.events import Event, Timeline
from pytest_mme.timeline.wording import name_of

P = ParamSpec("P")


class _Bound(Generic[P]):
    """A check that judges its owner's timeline, and leaves a mark there: so it can be made again."""

    def __init__(self, check: Callable[Concatenate[Iterable[Event], P], None]) -> None:
        self._check = check
        self.__doc__ = check.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Any]) -> _Bound[P]: ...
    @overload
    def __get__(self, owner: Checked, kind: type[Any]) -> Callable[P, None]: ...
    def __get__(self, owner: Checked | None, kind: type[Any]) -> Any:
        return self if owner is None else _Made(owner, self._check)


class _Made:
    """The method."""

    def __init__(self, owner: Checked, check: Callable[..., None]) -> None:
        self._owner, self._check = owner, check
        self.__doc__ = check.__doc__

    def __call__(self, *arguments: Any, **options: Any) -> None:
        owner, failed = self._owner, None
        events = owner.timeline
        at_s = owner.recording.now_s()
        try:
            with softly(bool(options.get("soft"))):
                try:
                    self._check(events, *arguments, **{**options, "soft": False})
                except AssertionError as error:
                    failed = str(error)
                    raise
        finally:
            said = {
                "arguments": _plain(arguments),
                "options": _plain(options),
                **({"failed": failed} if failed else {}),
            }
            owner.recording.record(
                "mark", source="test", server=owner.name, at_s=at_s, outcome=self._check.__name__, detail=said
            )


def _plain(value: Any) -> Any:
    """As JSON has it: models by their names."""
    if hasattr(value, "name") and isinstance(value.name, str):
        return name_of(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


class Checked:
    """Has a timeline, and the checks bound to it: `endpoint.check_evicted(model)`."""

    name: str
    recording: Timeline
    """What its events are recorded on, beside those of others of the same test."""

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to it, in order."""
        raise NotImplementedError

    check_answers = _Bound(checks.check_answers)
    check_capacity = _Bound(checks.check_capacity)
    check_concurrent = _Bound(checks.check_concurrent)
    check_drained = _Bound(checks.check_drained)
    check_evicted = _Bound(checks.check_evicted)
    check_evictions = _Bound(checks.check_evictions)
    check_fair = _Bound(checks.check_fair)
    check_fifo = _Bound(checks.check_fifo)
    check_isolated = _Bound(checks.check_isolated)
    check_lfu = _Bound(checks.check_lfu)
    check_loads_once = _Bound(checks.check_loads_once)
    check_lru = _Bound(checks.check_lru)
    check_memory_bounded = _Bound(checks.check_memory_bounded)
    check_no_stall = _Bound(checks.check_no_stall)
    check_no_thrash = _Bound(checks.check_no_thrash)
    check_recovers = _Bound(checks.check_recovers)
    check_resident = _Bound(checks.check_resident)
