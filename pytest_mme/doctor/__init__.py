"""Finds what is wrong with an archive before it is deployed: findings with stable codes. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pytest_mme.archives.inspect import Inspection, inspected
from pytest_mme.doctor import code, files, graphs, layout
from pytest_mme.doctor.finding import Finding, Kind, Severity, matters

__all__ = ["KINDS", "Finding", "Kind", "Severity", "diagnose", "examine", "matters"]

KINDS = (*layout.KINDS, *files.KINDS, *graphs.KINDS, *code.KINDS)
"""All kinds of findings."""
_WORST_FIRST = get_args(Severity)


def examine(path: Path, versions: Sequence[str]) -> list[Finding]:
    """Find what is wrong with the archive or folder *path* when these TensorFlow *versions* serve it; the worst first.

    Raises `ArchiveError` when *path* is neither, ValueError for a version that the registry does not have.
    """
    with inspected(path) as archive:
        return diagnose(archive, versions)


def diagnose(archive: Inspection, versions: Sequence[str]) -> list[Finding]:
    """Find what is wrong with an inspected archive; otherwise like `examine`."""
    findings = [*layout.look(archive)]
    for model in archive.versions.values():
        findings += files.look(model)
        if model.served is not None:
            findings += graphs.look(model)
            for version in versions:
                findings += graphs.look_for(model, version)
    findings += code.look(archive)
    found: dict[Finding, list[str]] = {}
    for finding in findings:  # one that is the same for several versions is listed once
        found.setdefault(dataclasses.replace(finding, tensorflow=""), []).append(finding.tensorflow)
    merged = (dataclasses.replace(one, tensorflow=", ".join(filter(None, on))) for one, on in found.items())
    return sorted(merged, key=lambda finding: (_WORST_FIRST.index(finding.severity), finding.code))
