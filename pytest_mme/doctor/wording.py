"""Findings in words."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mme.doctor.finding import Finding


def heading(finding: Finding) -> str:
    """What was found, and where."""
    place = f" in {finding.where}" if finding.where else ""
    on = f" on TensorFlow {finding.tensorflow}" if finding.tensorflow else ""
    return f"{finding.kind.title}{place}{on}"


def lines(finding: Finding) -> list[str]:
    """What was seen, why it matters, what to do: a line each."""
    said = (("seen", finding.fact), ("why", finding.kind.why), ("next", finding.kind.advice))
    return [f"{label + ':':5} {text}" for label, text in said]


def matters(findings: Iterable[Finding]) -> bool:
    """Whether one of them is more than information."""
    return any(finding.severity != "info" for finding in findings)
