"""What a session reports of its servers: summaries in the terminal and in JUnit's XML, and the file of --mme-report."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.plugin.evidence import Evidence, beside_the_failure, evidence_so_far
from pytest_mme.plugin.header import described, versions_line
from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.run import directory_of, is_worker
from pytest_mme.plugin.tensorflow_versions import asked_versions, version_of

if TYPE_CHECKING:
    from pytest_mme.report.matrix import Matrix

_MATRIX, _SUMMARY = "mme_matrix", "mme_summary"


def pytest_configure(config: pytest.Config) -> None:
    """Let every process record its tests, and the one that sees all their reports report of them."""
    config.pluginmanager.register(Recording(config), "mme-recording")
    if not is_worker(config):
        config.pluginmanager.register(Reporting(config), "mme-reporting")


class Recording:
    """Records each test where it runs: in properties of its report, and for the page in a file of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._directory = directory_of(config) if _is_page(config.stash[SETTINGS].report.value) else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: the evidence has recorded the phase before
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to the report of a tear-down, which comes once and last."""
        report = yield
        evidence = evidence_so_far(item)
        if report.when == "teardown" and evidence is not None:
            with beside_the_failure(report):
                report.user_properties.extend([*_matrix_entries(item, evidence), *_summaries(item, evidence)])
                # the page shows tests that started a server, or failed before they could
                shown = evidence.servers or evidence.failed or evidence.outcome == "xfailed"
                if self._directory is not None and shown:
                    from pytest_mme.report.records import Record

                    Record(
                        test=item.nodeid,
                        outcome=evidence.outcome,
                        timeline=evidence.timeline,
                        servers=[server.name for server in evidence.servers],
                        reason=evidence.reason,
                        evidence=evidence.sections,
                    ).write(self._directory)
        return report


def _is_page(file: Path | None) -> bool:
    return file is not None and file.suffix.lower() in (".html", ".htm")


def _matrix_entries(item: pytest.Item, evidence: Evidence) -> list[tuple[str, str]]:
    """Return what became of a test's archives on a TensorFlow version that was asked for."""
    if version_of(item) is None:
        return []
    from pytest_mme.report.matrix import judged

    facts = {server.name: server.running.facts.get("tensorflow") for server in evidence.servers}
    entries = judged(evidence.timeline, {name: version for name, version in facts.items() if version is not None})
    return [(_MATRIX, entry.to_json()) for entry in entries]


def _summaries(item: pytest.Item, evidence: Evidence) -> list[tuple[str, str]]:
    """Return what each of a test's servers and endpoints did."""
    if not evidence.servers:
        return []
    from pytest_mme.report.summary import summarised

    timeline = evidence.timeline
    found = [summarised(timeline.of(one.name), server=one.name, test=item.nodeid) for one in evidence.servers]
    return [(_SUMMARY, one.to_json()) for one in found]


class Reporting:
    """Collects what the tests' reports say, those of xdist's workers too, and shows and writes it at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._file = config.stash[SETTINGS].report.value
        self._matrix_entries: list[str] = []
        self._summaries: list[str] = []
        self._complaint: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Make an empty file: where that is not possible now, it would not be after an hour of tests either."""
        try:
            if _is_page(self._file):
                from pytest_mme.report.html import require

                require()
            self._write("{}\n")
        except UnavailableError as error:
            raise pytest.UsageError(str(error)) from error
        except OSError as error:
            raise pytest.UsageError(self._cannot_be_written(error)) from error

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the properties of a test."""
        if report.when == "teardown":
            self._matrix_entries += [str(value) for name, value in report.user_properties if name == _MATRIX]
            self._summaries += [str(value) for name, value in report.user_properties if name == _SUMMARY]

    def pytest_sessionfinish(self) -> None:
        """Write the file: a page, or for programs which archive runs on which TensorFlow."""
        try:
            matrix = self._matrix()
            if _is_page(self._file):
                from pytest_mme.report.html import page
                from pytest_mme.report.records import written

                head = [versions_line(), described(self._config, without=("report",))]
                self._write(page(written(directory_of(self._config)), matrix, head=head))
            elif self._file is not None and matrix:
                from pytest_mme.report.matrix import document

                self._write(json.dumps({"matrix": document(matrix)}, indent=2) + "\n")
        except Exception as error:  # noqa: BLE001  whatever it is, pytest must still show the tests' own failures
            self._complaint = self._cannot_be_written(error)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what the servers did, which archive runs on which TensorFlow, and where the file is."""
        if self._summaries:
            from pytest_mme.report.summary import Summary
            from pytest_mme.report.summary import show as show_summaries

            terminalreporter.section("mme: what the servers and endpoints did")
            show_summaries(map(Summary.from_json, self._summaries), self._config.get_terminal_writer())
        if matrix := self._matrix():
            from pytest_mme.report.matrix import show as show_matrix

            terminalreporter.section("mme: which archive runs on which TensorFlow")
            show_matrix(matrix, self._config.get_terminal_writer())
        if self._complaint:
            terminalreporter.line(f"mme: {self._complaint}", red=True)
        elif self._file:
            terminalreporter.line(f"mme: the report is {self._file}")

    def _matrix(self) -> Matrix | None:
        """Return which archive runs on which TensorFlow, when that was asked for, or tests ran on more than one."""
        if not self._matrix_entries:
            return None
        from pytest_mme.report.matrix import Entry, merged

        found = merged(map(Entry.from_json, self._matrix_entries), asked := asked_versions(self._config))
        return found if asked or len(found.versions) > 1 else None

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(text)

    def _cannot_be_written(self, error: Exception) -> str:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return f"--mme-report={self._file} cannot be written: {why}"
