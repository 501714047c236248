"""The text of findings."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mme.doctor.finding import Finding


def heading(finding: Finding) -> str:
    """The title of a finding, with its place and versions."""
    place = f" in {finding.where}" if finding.where else ""
    on = f" on TensorFlow {finding.tensorflow}" if finding.tensorflow else ""
    return f"{finding.kind.title}{place}{on}"


def lines(finding: Finding) -> list[str]:
    """Three lines: what was seen, why it matters, what to do."""
    parts = (("seen", finding.fact), ("why", finding.kind.why), ("next", finding.kind.advice))
    return [f"{label + ':':5} {text}" for label, text in parts]


def matters(findings: Iterable[Finding]) -> bool:
    """Whether one of them is more than information."""
    return any(finding.severity != "info" for finding in findings)
