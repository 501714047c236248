"""The checks as methods of what has a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, overload

from pytest_mme import checks
from pytest_mme.events import Event

P = ParamSpec("P")


class _Bound(Generic[P]):
    """A check that judges its owner's timeline."""

    def __init__(self, check: Callable[Concatenate[Iterable[Event], P], None]) -> None:
        self._check = check
        self.__doc__ = check.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Any]) -> _Bound[P]: ...
    @overload
    def __get__(self, owner: Checked, kind: type[Any]) -> Callable[P, None]: ...
    def __get__(self, owner: Checked | None, kind: type[Any]) -> Any:
        return self if owner is None else partial(self._check, owner.timeline)


class Checked:
    """Has a timeline, and the checks bound to it: `endpoint.check_evicted(model)`."""

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
