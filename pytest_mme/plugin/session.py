"""What a pytest session holds: the settings, the run and its directory, and each test's evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.settings import Settings

if TYPE_CHECKING:
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.kit import Run
    from pytest_mme.models.builder import Model
    from pytest_mme.replay.bundle import Kind, Made
    from pytest_mme.report.matrix import Matrix
    from pytest_mme.report.summary import Summary
    from pytest_mme.runtimes.leases import RunDirectory
    from pytest_mme.runtimes.server import Server
    from pytest_mme.timeline.events import Timeline

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_DIRECTORY: pytest.StashKey[RunDirectory] = pytest.StashKey()
_RUN: pytest.StashKey[Run] = pytest.StashKey()
_VERSIONS: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
_EVIDENCE: pytest.StashKey[Evidence] = pytest.StashKey()
_COMPLAINT: pytest.StashKey[str] = pytest.StashKey()
_HEARD: pytest.StashKey[Reports] = pytest.StashKey()

_MATRIX = "mme_matrix"
_SUMMARY = "mme_summary"


class Evidence:
    """What a failing test has to show: its timeline, and its servers with their logs."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.servers: list[Server | Endpoint] = []
        self.made: list[Made] = []
        self.models: dict[str, Model] = {}
        self.outcome = "passed"
        self.sections: list[tuple[str, str]] = []

    def add(
        self,
        kind: Kind,
        target: Server | Endpoint,
        fields: Mapping[str, Any],
        models: Sequence[Model] = (),
    ) -> None:
        """A server, an endpoint or a handler that the test has made."""
        from pytest_mme.replay.bundle import made

        self.servers.append(target)
        self.made.append(made(kind, target.name, fields, models))
        self.models |= {model.name: model for model in models}

    def all_models(self) -> dict[str, Model]:
        """Those of endpoints, and what was loaded into servers."""
        loaded = {model.name: model for server in self.servers for model in getattr(server, "loaded", {}).values()}
        return {**loaded, **self.models}

    @property
    def told(self) -> bool:
        """Whether a report of this test has it already."""
        return self.outcome in ("failed", "error")

    def hear(self, report: pytest.TestReport) -> None:
        """What a phase of the test came to."""
        if report.failed:
            title = "failure" if report.when == "call" else f"error at {report.when}"
            self.outcome = "failed" if report.when == "call" or self.outcome == "failed" else "error"
            self.sections += [
                (title, report.longreprtext),
                *(one for one in report.sections if one not in self.sections),
            ]
        elif report.skipped and self.outcome == "passed":
            self.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            self.sections = [("failure, as expected", report.longreprtext)] if self.outcome == "xfailed" else []

    def is_worth_a_look(self) -> bool:
        """Whether there is something to see: of a server, or of one that did not even start."""
        return bool(self.servers) or self.told or self.outcome == "xfailed"


def evidence_of(item: pytest.Item) -> Evidence:
    """The evidence of a test, which begins when it is first asked for."""
    from pytest_mme.timeline.events import Timeline

    return item.stash.setdefault(_EVIDENCE, Evidence(Timeline()))


def evidence_so_far(item: pytest.Item) -> Evidence | None:
    """The evidence of a test that has any."""
    return item.stash.get(_EVIDENCE, None)


def forget_evidence(item: pytest.Item) -> None:
    """The test begins, perhaps once more."""
    if _EVIDENCE in item.stash:
        del item.stash[_EVIDENCE]


def run_of(config: pytest.Config) -> Run:
    """The run of this process. A session that uses none of the fixtures never makes one."""
    from pytest_mme.kit import Run

    if _RUN not in config.stash:
        run = Run(config.stash[SETTINGS], directory=directory_of(config))
        config.add_cleanup(run.close)
        config.stash[_RUN] = run
    return config.stash[_RUN]


def directory_of(config: pytest.Config) -> Path:
    """The run's directory: the controller's, which outlives its workers."""
    given = getattr(config, "workerinput", {}).get("mme_run")
    if given is not None:
        return Path(given)
    if _DIRECTORY not in config.stash:
        from pytest_mme.runtimes import leases

        leases.sweep()
        owned = config.stash[_DIRECTORY] = leases.RunDirectory(keep=config.stash[SETTINGS].keep.value == "always")
        config.add_cleanup(owned.release)
    return config.stash[_DIRECTORY].path


def asked_versions(config: pytest.Config) -> tuple[str, ...]:
    """The TensorFlow versions of `--mme-tf`, exactly: the controller looks them up for its workers, too."""
    given = getattr(config, "workerinput", {}).get("mme_tf")
    if given is not None:
        return tuple(given)
    if not config.stash[SETTINGS].tf.value:
        return ()
    if _VERSIONS not in config.stash:
        toolchain = run_of(config).toolchain
        try:
            config.stash[_VERSIONS] = tuple(dict.fromkeys(map(toolchain.resolve, config.stash[SETTINGS].tf.value)))
        except UnavailableError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_VERSIONS]


def fetch_versions(config: pytest.Config) -> None:
    """Fetch the TensorFlow versions that the tests run on and that are not here, where they are not in images."""
    if config.stash[SETTINGS].runtime.value != "local":
        return
    from pytest_mme.plugin.fetching import fetch_all

    asked = asked_versions(config)
    try:
        fetch_all(run_of(config).toolchain, asked or (None,), config.pluginmanager.get_plugin("terminalreporter"))
    except UnavailableError as error:
        if asked:  # otherwise each test that needs it says so, and others run
            raise pytest.UsageError(str(error)) from error


def said_of_archives(item: pytest.Item) -> list[tuple[str, str]]:
    """What a test says of its archives on a TensorFlow that was asked for, as properties of its report."""
    evidence, asked = evidence_so_far(item), getattr(item, "callspec", None)
    if evidence is None or asked is None or "mme_tf" not in asked.params:
        return []
    from pytest_mme.report.matrix import judged

    facts = {server.name: server.running.facts.get("tensorflow") for server in evidence.servers}
    entries = judged(evidence.timeline, {name: version for name, version in facts.items() if version is not None})
    return [(_MATRIX, entry.to_json()) for entry in entries]


def summaries_of(item: pytest.Item) -> list[tuple[str, str]]:
    """What a test's servers and endpoints did, as properties of its report."""
    evidence = evidence_so_far(item)
    if evidence is None or not evidence.servers:
        return []
    from pytest_mme.report.summary import summarised

    timeline = evidence.timeline
    found = [summarised(timeline.of(one.name), server=one.name, test=item.nodeid) for one in evidence.servers]
    return [(_SUMMARY, one.to_json()) for one in found]


def keep_failure(item: pytest.Item, failure: str) -> list[tuple[str, str]]:
    """Keep what a failed test had and did, and say how to look at it again."""
    evidence = evidence_so_far(item)
    if evidence is None or not evidence.made:
        return []
    from pytest_mme.replay.bundle import Bundle, Ingredient, keep

    settings = item.config.stash[SETTINGS]
    bundle = Bundle(
        test=item.nodeid,
        failure=failure,
        settings=settings.given(),
        made=evidence.made,
        models={name: Ingredient.of(model) for name, model in evidence.all_models().items() if model.archive.is_file()},
        timeline=evidence.timeline,
    )
    try:
        file = keep(bundle, settings.cache.value)
    except OSError as error:
        return [("mme replay", f"it could not be kept: {error}")]
    found_by_name = settings.cache.source in ("default", "environment")  # which the commands know, too
    name = file.stem if found_by_name else file
    commands = (
        (f"pytest-mme replay {name}", "judges it again, with --run does it again"),
        (f"pytest-mme bundle {name}", "makes one file of it"),
    )
    return [("mme replay", "\n".join(f"{command}   # {what}" for command, what in commands))]


def keep_for_the_page(item: pytest.Item) -> None:
    """Let the page of the run tell of this test, where one is asked for."""
    evidence = evidence_so_far(item)
    if evidence is not None and evidence.is_worth_a_look() and _is_page(item.config):
        from pytest_mme.report.records import Record

        Record(
            test=item.nodeid,
            outcome=evidence.outcome,
            timeline=evidence.timeline,
            servers=[server.name for server in evidence.servers],
            evidence=evidence.sections,
        ).write(directory_of(item.config))


def _is_page(config: pytest.Config) -> bool:
    path: Path | None = config.stash[SETTINGS].report.value
    return path is not None and path.suffix.lower() in (".html", ".htm")


class Reports:
    """Hears the tests' reports, those from xdist's workers too, and keeps what they say of archives and servers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.summaries: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Only the report of a tear-down says something: it comes once, and last."""
        if report.when == "teardown":
            self.said += [str(value) for name, value in report.user_properties if name == _MATRIX]
            self.summaries += [str(value) for name, value in report.user_properties if name == _SUMMARY]


def hear_reports(config: pytest.Config) -> None:
    """From now on."""
    config.stash[_HEARD] = Reports()
    config.pluginmanager.register(config.stash[_HEARD], "mme-reports")


def matrix(config: pytest.Config) -> Matrix | None:
    """Which archive runs on which TensorFlow, when that was asked for, or tests ran on more than one."""
    if not (said := config.stash[_HEARD].said):
        return None
    from pytest_mme.report.matrix import Entry, merged

    found = merged(map(Entry.from_json, said), asked := asked_versions(config))
    return found if asked or len(found.versions) > 1 else None


def summaries(config: pytest.Config) -> list[Summary]:
    """What the run's servers and endpoints did."""
    if not (said := config.stash[_HEARD].summaries):
        return []
    from pytest_mme.report.summary import Summary

    return list(map(Summary.from_json, said))


def begin_report(config: pytest.Config) -> None:
    """Make the file of `--mme-report`, empty: what is not written now cannot be written after an hour of tests."""
    try:
        if _is_page(config) and not hasattr(config, "workerinput"):
            from pytest_mme.report.html import require

            require()
        _write_report(config, "{}\n")
    except UnavailableError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        raise pytest.UsageError(_cannot_be_written(config, error)) from error


def finish_report(config: pytest.Config) -> None:
    """Write what the run found: a page, or for programs which archive runs on which TensorFlow."""
    if config.stash[SETTINGS].report.value is None or hasattr(config, "workerinput"):
        return
    try:
        _finish_report(config)
    except Exception as error:  # noqa: BLE001  the tests' own failures are to be told, whatever becomes of the report
        config.stash[_COMPLAINT] = _cannot_be_written(config, error)


def report_complaint(config: pytest.Config) -> str | None:
    """Why there is no report, though one was asked for."""
    return config.stash.get(_COMPLAINT, None)


def _cannot_be_written(config: pytest.Config, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return f"--mme-report={config.stash[SETTINGS].report.value} cannot be written: {why}"


def _finish_report(config: pytest.Config) -> None:
    found = matrix(config)
    if _is_page(config):
        from pytest_mme.report.html import page
        from pytest_mme.report.records import written

        _write_report(config, page(written(directory_of(config)), found))
    elif found:
        from pytest_mme.report.matrix import document

        _write_report(config, json.dumps({"matrix": document(found)}, indent=2) + "\n")


def _write_report(config: pytest.Config, text: str) -> None:
    path: Path | None = config.stash[SETTINGS].report.value
    if path is None or hasattr(config, "workerinput"):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def keep_what_failed(config: pytest.Config) -> None:
    """Tests have failed: keep the run's directory, if that is what was asked for."""
    if _DIRECTORY in config.stash and config.stash[SETTINGS].keep.value == "failed":
        config.stash[_DIRECTORY].keep = True
