"""Models in checks: given as models or by name, shown by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


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
