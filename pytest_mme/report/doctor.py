"""Findings for people; and `pytest --mme-doctor`, which takes each archive for a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.errors import ArchiveError, UnavailableError
from pytest_mme.models.doctor import Finding, examine
from pytest_mme.models.registry import registry


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


class FoundError(Exception):
    """An archive has findings that matter."""

    def __init__(self, archive: Path, findings: Sequence[Finding]) -> None:
        super().__init__(archive, findings)
        self.archive, self.findings = archive, findings

    def __str__(self) -> str:
        said = [str(self.archive)]
        for finding in self.findings:
            said.append(f"  {finding.code} {finding.severity}: {heading(finding)}")
            said += [f"    {line}" for line in lines(finding)]
        return "\n".join(said)


class ArchiveFile(pytest.File):
    """An archive that is collected."""

    asked: Sequence[str]
    """The TensorFlow versions that will serve it; none: the installed one."""

    def collect(self) -> Iterable[ArchiveItem]:
        """The one test of it; an error for a version that nothing is known of."""
        known = registry()
        try:
            versions = [known.serving(one) for one in self.asked] or [known.nearest_installed()]
        except (ValueError, UnavailableError) as error:
            raise self.CollectError(str(error)) from error
        item: ArchiveItem = ArchiveItem.from_parent(self, name="doctor")
        item.versions = versions
        yield item


class ArchiveItem(pytest.Item):
    """Examines an archive."""

    versions: Sequence[str]

    def runtest(self) -> None:
        """Fail for an error or a warning."""
        findings = examine(self.path, self.versions)
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
