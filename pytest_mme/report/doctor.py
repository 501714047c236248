"""Findings for people; and `pytest --mme-doctor`, which takes each archive for a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.errors import ArchiveError
from pytest_mme.models.doctor import Finding, examine

SUFFIX = ".tar.gz"


def heading(finding: Finding) -> str:
    """What was found, and where."""
    place = f" in {finding.where}" if finding.where else ""
    on = f" on TensorFlow {finding.tensorflow}" if finding.tensorflow else ""
    return f"{finding.kind.title}{place}{on}"


def explained(finding: Finding) -> list[str]:
    """What was seen, why it matters, what to do: a line each."""
    said = (("seen", finding.fact), ("why", finding.kind.why), ("next", finding.kind.advice))
    return [f"{label + ':':5} {text}" for label, text in said]


def matters(findings: Iterable[Finding]) -> bool:
    """Whether one of them is more than information."""
    return any(finding.severity != "info" for finding in findings)


class FoundError(Exception):
    """An archive has findings that matter."""

    def __init__(self, archive: Path, findings: Sequence[Finding]) -> None:
        super().__init__(archive, findings)
        self.archive, self.findings = archive, findings

    def __str__(self) -> str:
        lines = [str(self.archive)]
        for finding in self.findings:
            lines.append(f"  {finding.code} {finding.severity}: {heading(finding)}")
            lines += [f"    {line}" for line in explained(finding)]
        return "\n".join(lines)


class ArchiveFile(pytest.File):
    """An archive that is collected."""

    versions: Sequence[str]

    def collect(self) -> Iterable[ArchiveItem]:
        """The one test of it."""
        item: ArchiveItem = ArchiveItem.from_parent(self, name="doctor")
        yield item


class ArchiveItem(pytest.Item):
    """Examines an archive."""

    def runtest(self) -> None:
        """Fail for an error or a warning."""
        assert isinstance(self.parent, ArchiveFile)
        findings = examine(self.path, self.parent.versions)
        if matters(findings):
            raise FoundError(self.path, findings)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings, and no traceback."""
        if isinstance(excinfo.value, FoundError | ArchiveError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What the report calls it."""
        return self.path, None, f"doctor: {self.path.name}"
