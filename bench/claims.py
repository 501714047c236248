"""A claim: what was measured, beside a peer measured in the same run, against an aim."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

COLUMNS = ("claim", "ours", "share", "peer", "aim", "")


class Row(Protocol):
    """One line of the table."""

    @property
    def cells(self) -> Sequence[str]:
        """One text for each of `COLUMNS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """Something measured; without an aim it only informs."""

    what: str
    ours: float
    unit: str
    peer: float | None = None
    at_most: float | None = None
    """The aim, in `unit`."""
    times_less: float | None = None
    """How many times less than the peer's it must be, too."""

    @property
    def met(self) -> bool | None:
        """Whether every aim is met; None when there is none."""
        if self.at_most is None:
            return None
        enough_less = self.times_less is None or (self.peer is not None and self.ours * self.times_less <= self.peer)
        return self.ours <= self.at_most and enough_less

    @property
    def cells(self) -> Sequence[str]:
        """As the table shows it."""
        verdict = {True: "ok", False: "MISSED", None: ""}[self.met]
        return (self.what, amount(self.ours, self.unit), "", self._peer_text, self._aim_text, verdict)

    @property
    def _peer_text(self) -> str:
        if self.peer is None:
            return ""
        return f"{amount(self.peer, self.unit)} ({self.peer / self.ours:.0f} times)"

    @property
    def _aim_text(self) -> str:
        if self.at_most is None:
            return ""
        peer = f", peer / {self.times_less:g}" if self.times_less else ""
        return f"at most {self.at_most:g} {self.unit}{peer}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the claim above it."""

    what: str
    ours: float
    unit: str
    whole: float
    """What it is a part of, in `unit`."""

    @property
    def cells(self) -> Sequence[str]:
        """As the table shows it."""
        return (f"  {self.what}", amount(self.ours, self.unit), f"{self.ours / self.whole:.0%}", "", "", "")


def amount(value: float, unit: str) -> str:
    """Three digits, as far as there are so many."""
    decimals = next((digits for limit, digits in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:.{decimals}f} {unit}"
