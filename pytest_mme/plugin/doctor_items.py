"""`pytest --mme-doctor`: each archive is a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.errors import ArchiveError, UnavailableError
from pytest_mme.plugin.options import SETTINGS

if TYPE_CHECKING:
    from pytest_mme.doctor import Finding


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect an archive, when the option is given."""
    if not parent.config.stash[SETTINGS].doctor.value or not file_path.name.endswith(".tar.gz"):
        return None
    collected: ArchiveFile = ArchiveFile.from_parent(parent, path=file_path)
    return collected


class FindingsError(Exception):
    """An archive has findings that matter: errors or warnings."""

    def __init__(self, archive: Path, findings: Sequence[Finding]) -> None:
        super().__init__(archive, findings)
        self.archive, self.findings = archive, findings

    def __str__(self) -> str:
        text = [str(self.archive)]
        for finding in self.findings:
            text.append(f"  {finding.code} {finding.severity}: {finding.heading}")
            text += [f"    {line}" for line in finding.lines]
        return "\n".join(text)


class ArchiveFile(pytest.File):
    """An archive that is collected."""

    def collect(self) -> Iterable[ArchiveItem]:
        """Yield its one test, for the TensorFlow of --mme-tf, by default the installed one, or else the newest known.

        Raises `CollectError` for a version that the doctor does not know.
        """
        from pytest_mme.archives.op_registry import registry

        known = registry()
        try:
            versions = list(map(known.serving, self.config.stash[SETTINGS].tf.value)) or [known.nearest_installed()]
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
        from pytest_mme.doctor import examine, matters

        findings = examine(self.path, self.versions)
        if matters(findings):
            raise FindingsError(self.path, findings)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the findings, without a traceback."""
        if isinstance(excinfo.value, FindingsError | ArchiveError | UnavailableError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return how reports name it."""
        return self.path, None, f"doctor: {self.path.name}"
