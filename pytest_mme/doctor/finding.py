"""A finding: what is wrong with an archive, by a code that stays."""

from __future__ import annotations

import dataclasses
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What can be found."""

    code: str
    """As in ``MME101``. Never given to another kind."""
    severity: Severity
    """``error``: it does not load, or its first request fails; ``warning``: it may not do what it should."""
    title: str
    why: str
    """What happens on an endpoint."""
    advice: str
    source: str
    """Where that is known from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found in one archive."""

    kind: Kind
    fact: str
    """What was seen."""
    where: str = ""
    """The version's folder or the file; empty for the archive as a whole."""
    tensorflow: str = ""
    """The serving version that it is about; empty where it is about all."""

    @property
    def code(self) -> str:
        """Its kind's."""
        return self.kind.code

    @property
    def severity(self) -> Severity:
        """Its kind's."""
        return self.kind.severity
