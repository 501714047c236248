"""How the messages of checks name models, counts and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, cast

from pytest_mme.timeline.events import Event

_SHOWN = 5
T = TypeVar("T")


class Named(Protocol):
    """Anything with a name, such as a `Model`."""

    @property
    def name(self) -> str:
        """The name that events use."""


def name_of(model: Named | str) -> str:
    """The name that events use: an archive's key without its ``.tar.gz``."""
    return (model if isinstance(model, str) else model.name).removesuffix(".tar.gz")


def names_of(models: Iterable[Named | str] | Named | str) -> list[str]:
    """The names of several models or of one; raises ValueError when there are none."""
    is_one = isinstance(models, str) or hasattr(models, "name")
    names = [name_of(model) for model in cast("Iterable[Named | str]", [models] if is_one else models)]
    if not names:
        raise ValueError("no model is named: name at least one")
    return names


def counted(number: int, what: str) -> str:
    """``1 eviction``, ``2 evictions``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Names for a message, each once."""
    return ", ".join(dict.fromkeys(names)) or "none"


def some(things: Sequence[T], text: Callable[[T], str], *, between: str = ", ") -> str:
    """The *text* of the first five, for a message, and how many more there are: ``a, b, c, d, e and 2 more``."""
    ahead = between if "\n" in between else " "
    more = f"{ahead}and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return between.join(map(text, things[:_SHOWN])) + more


def when(event: Event) -> str:
    """Of which model an event was, and when it ended."""
    return f"{event.model} at {event.at_s:.2f} s"


def outcomes(events: Sequence[Event]) -> str:
    """The outcomes of requests, for a message."""
    shown = some(events, lambda event: f"{event.model} {event.outcome} at {event.at_s:.2f} s")
    return shown or "it got no request"
