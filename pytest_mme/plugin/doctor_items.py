"""`pytest --mme-doctor`: each archive is a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.archives.op_registry import registry
from pytest_mme.doctor import Finding, examine
from pytest_mme.doctor.wording import heading, lines, matters
from pytest_mme.errors import ArchiveError, UnavailableError


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
        if isinstance(excinfo.value, FoundError | ArchiveError | UnavailableError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What the report calls it."""
        return self.path, None, f"doctor: {self.path.name}"
