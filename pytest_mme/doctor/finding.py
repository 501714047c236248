"""A finding: something that is wrong with an archive, with a stable code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

LOADER = "measured with TensorFlow's C++ loader (docs/versions.md)"
"""The source of most findings."""

Severity = Literal["error", "warning", "info"]
"""From the worst on."""


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

    @property
    def heading(self) -> str:
        """Its title, with its place and versions."""
        place = f" in {self.where}" if self.where else ""
        on = f" on TensorFlow {self.tensorflow}" if self.tensorflow else ""
        return f"{self.kind.title}{place}{on}"

    @property
    def lines(self) -> list[str]:
        """Three lines of text: what was seen, why it matters, what to do."""
        parts = (("seen", self.fact), ("why", self.kind.why), ("next", self.kind.advice))
        return [f"{label + ':':5} {text}" for label, text in parts]


def matters(findings: Iterable[Finding]) -> bool:
    """Whether one of them is more than information."""
    return any(finding.severity != "info" for finding in findings)
