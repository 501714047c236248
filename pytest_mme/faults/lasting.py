"""Faults that last: which of them are in effect on a server, and the end of those that nobody has undone."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", covariant=True)
log = logging.getLogger("pytest_mme")


class Victim(Protocol):
    """A `Server` or an `Endpoint`."""

    in_effect: list[Lasting[Any]]
    """The faults that have begun and not ended."""

    @property
    def name(self) -> str:
        """What messages call it."""


class Lasting(AbstractContextManager[T]):
    """A fault that is in effect on *victim* from when the block begins until it ends."""

    def __init__(self, fault: AbstractContextManager[T], name: str, victim: Victim) -> None:
        self._fault, self.name, self._victim = fault, name, victim

    def __enter__(self) -> T:
        given = self._fault.__enter__()
        self._victim.in_effect.append(self)
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self in self._victim.in_effect:
            self._victim.in_effect.remove(self)
        return self._fault.__exit__(kind, error, traceback)


def lasting(fault: F) -> F:
    """Let a method of `Faults` that returns a context manager note on its victim that it is in effect."""

    @functools.wraps(fault)
    def make(faults: Any, /, *arguments: Any, **options: Any) -> Any:
        return Lasting(fault(faults, *arguments, **options), fault.__name__, faults.victim)

    return make  # type: ignore[return-value]  # it takes what *fault* takes


def undo(victim: Victim, *, keep: Collection[Lasting[Any]] = ()) -> list[str]:
    """End the faults that are in effect, but those to *keep*, the latest first; return their names in that order."""
    ended = [one for one in reversed(victim.in_effect) if one not in keep]
    for one in ended:
        try:
            one.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  the others are still to be undone
            log.warning("the fault %s of %s could not be undone: %s", one.name, victim.name, error)
    return [one.name for one in ended]


@contextlib.contextmanager
def undone(victim: Victim) -> Iterator[None]:
    """End the faults of the block that are still in effect at its end."""
    try:
        yield
    finally:
        undo(victim)
