"""A finding: something that is wrong with an archive, with a stable code."""

from __future__ import annotations

import dataclasses
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of finding."""

    code: str
    """For example ``MME101``; a code is never used for another kind."""
    severity: Severity
    """``error``: the model does not load, or its first request fails; ``warning``: it may not do what it should."""
    title: str
    why: str
    """The consequence on an endpoint."""
    advice: str
    source: str
    """The source of the fact."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding in one archive."""

    kind: Kind
    fact: str
    """What was seen."""
    where: str = ""
    """The version's folder or the file; empty for the archive as a whole."""
    tensorflow: str = ""
    """The serving versions that it concerns; empty when it concerns all."""

    @property
    def code(self) -> str:
        """The code of its kind."""
        return self.kind.code

    @property
    def severity(self) -> Severity:
        """The severity of its kind."""
        return self.kind.severity
