"""Models in checks: given as models or by name, shown by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pytest_mme.events import Event

_SHOWN = 5


class Named(Protocol):
    """Anything with a name, such as a `Model`."""

    @property
    def name(self) -> str:
        """What events call it."""


def name_of(model: Named | str) -> str:
    """The name that events use: an archive's key goes without ``.tar.gz``."""
    return (model if isinstance(model, str) else model.name).removesuffix(".tar.gz")


def counted(number: int, what: str) -> str:
    """``1 eviction``, ``2 evictions``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Names for a message."""
    return ", ".join(dict.fromkeys(names)) or "none"


def outcomes(events: Sequence[Event]) -> str:
    """What came of requests, for a message."""
    shown = ", ".join(f"{event.model} {event.outcome} at {event.at_s:.2f} s" for event in events[:_SHOWN])
    return (shown or "it was not asked") + (f" and {len(events) - _SHOWN} more" if len(events) > _SHOWN else "")
