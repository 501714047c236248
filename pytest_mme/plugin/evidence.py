"""What a failing test shows: its timeline, its servers' logs and memory, and how to look at it again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.tracebacks import cut, in_one_line, uses_the_kit

if TYPE_CHECKING:
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.models.builder import Model
    from pytest_mme.replay.bundle import Kind, Made
    from pytest_mme.runtimes.server import Server
    from pytest_mme.settings import Shown
    from pytest_mme.timeline.events import Timeline


MOST_LINES = 40
"""How many lines a failing test takes with `--mme-evidence=short`."""
MOST_PROPERTY_BYTES = 56 * 1024
"""How much of a timeline is in JUnit's XML: with the summaries of the test's servers it stays below 64 KiB."""
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_FRAME, _REPLAY = 2, 3  # the lines around the traceback, and of the replay
_NOTE_BYTES = 200


class Evidence:
    """What a test has done: its timeline, its servers and endpoints, and what became of it."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.servers: list[Server | Endpoint] = []
        self.made: list[Made] = []
        self.models: dict[str, Model] = {}
        self.outcome = "passed"
        self.sections: list[tuple[str, str]] = []
        self.reason = ""
        """What the failure is, in one line."""

    def add(
        self,
        kind: Kind,
        target: Server | Endpoint,
        fields: Mapping[str, Any],
        models: Sequence[Model] = (),
    ) -> None:
        """Note a server, an endpoint or a handler that the test has made."""
        from pytest_mme.replay.bundle import made

        self.servers.append(target)
        self.made.append(made(kind, target.name, fields, models))
        self.models |= {model.name: model for model in models}

    def all_models(self) -> dict[str, Model]:
        """Return the models of its endpoints, and those that were loaded into its servers."""
        loaded = {model.name: model for server in self.servers for model in server.models.values()}
        return {**loaded, **self.models}

    def catch_up(self) -> None:
        """Let everything that the servers have seen until now come onto the timeline."""
        for server in self.servers:
            with contextlib.suppress(Exception):  # the test has failed already; a server may be gone
                server.running.catch_up()

    def loud(self, environment: Mapping[str, str]) -> list[str]:
        """Return the servers whose TensorFlow was told how much to log, by the *environment* or a field of theirs."""
        told = {one.name: LOG_LEVEL in one.fields.get("env", {}) for one in self.made}
        return [name for name, itself in told.items() if itself or LOG_LEVEL in environment]

    def named(self, text: str) -> str:
        """Return *text* with the models' names in place of the ids that servers know them by."""
        from pytest_mme.report.short import named

        return named(text, self.timeline)

    @property
    def failed(self) -> bool:
        """Whether a phase of the test has failed."""
        return self.outcome in ("failed", "error")

    def record(self, report: pytest.TestReport, failure: str = "") -> None:
        """Record the outcome of a phase of the test. *failure*: the message, where it failed."""
        if report.failed:
            self.reason = self.reason or self.named(in_one_line(failure))
            title = "failure" if report.when == "call" else f"error at {report.when}"
            self.outcome = "failed" if report.when == "call" or self.outcome == "failed" else "error"
            self.sections += [
                (title, report.longreprtext),
                *(section for section in report.sections if section not in self.sections),
            ]
        elif report.skipped and self.outcome == "passed":
            self.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            self.sections = [("failure, as expected", report.longreprtext)] if self.outcome == "xfailed" else []


_EVIDENCE = pytest.StashKey[Evidence]()


def evidence_of(item: pytest.Item) -> Evidence:
    """Return the evidence of a test, which begins when it is first asked for."""
    from pytest_mme.timeline.events import Timeline

    return item.stash.setdefault(_EVIDENCE, Evidence(Timeline()))


def evidence_so_far(item: pytest.Item) -> Evidence | None:
    """Return the evidence of a test that has any."""
    return item.stash.get(_EVIDENCE, None)


@contextlib.contextmanager
def beside_the_failure(report: pytest.TestReport) -> Iterator[None]:
    """Turn an error into a section of the report, so that the test's own failure is not lost for it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is, the test's own failure comes first
        report.sections.append(("mme evidence", f"it could not be gathered: {type(error).__name__}: {error}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget what an earlier try of the same test has done."""
    if _EVIDENCE in item.stash:
        del item.stash[_EVIDENCE]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the evidence to the report of the first phase that fails."""
    report = yield
    evidence = evidence_so_far(item)
    if report.failed and uses_the_kit(item):
        with beside_the_failure(report):
            cut(item, report, evidence.named if evidence else str)
    if evidence is not None:
        with beside_the_failure(report):
            failure = call.excinfo.exconly(tryshort=True) if report.failed and call.excinfo else ""
            if report.failed and not evidence.failed:
                report.sections.extend(_sections(evidence, item, report, failure))
                as_property = ("mme_timeline", _as_property(evidence.timeline))
                report.user_properties.append(as_property)
                item.user_properties.append(as_property)  # JUnit reads those of the report of the tear-down
            evidence.record(report, failure)
    return report


def _sections(
    evidence: Evidence, item: pytest.Item, report: pytest.TestReport, failure: str
) -> Sequence[tuple[str, str]]:
    """Return the sections of the evidence, as much of it as `--mme-evidence` asks for."""
    found = _gathered(evidence, item.config.stash[SETTINGS].evidence.value, report, failure)
    # only now all events have come
    kept = [("mme replay", _keep_failure(evidence, item, failure.partition("\n")[0]))] if evidence.made else []
    return [] if found is None else [*found, *kept]


def _gathered(
    evidence: Evidence, shown: Shown, report: pytest.TestReport, failure: str
) -> list[tuple[str, str]] | None:
    """Return the sections that gathering the last events of the servers leads to; None where none is asked for."""
    if shown == "none":
        evidence.catch_up()
        return None
    if shown == "full":
        from pytest_mme.report.sections import sections

        return sections(evidence.timeline, evidence.servers)
    from pytest_mme.report.short import short_sections

    taken = [report.longreprtext, *(f"\n{text}" for _, text in report.sections)]
    lines = MOST_LINES - _FRAME - _REPLAY - sum(text.count("\n") + 1 for text in taken)
    return short_sections(
        evidence.timeline, evidence.servers, failure=failure, lines=lines, loud=evidence.loud(os.environ)
    )


def _as_property(timeline: Timeline) -> str:
    """Return the timeline as JSON lines; of one that is too long, its end, and in the first line a note of that."""
    head, *lines = timeline.to_jsonl().splitlines()
    most = MOST_PROPERTY_BYTES - len(head) - _NOTE_BYTES
    sizes = itertools.accumulate(len(line) + 1 for line in reversed(lines))
    kept = sum(size <= most for size in sizes)
    if kept == len(lines):
        return "\n".join([head, *lines])
    note = f"cut: the last {kept} of {len(lines)} events; pytest-mme replay has all"
    return "\n".join([json.dumps({**json.loads(head), "note": note}), *lines[len(lines) - kept :]])


def _keep_failure(evidence: Evidence, item: pytest.Item, failure: str) -> str:
    """Keep what the test had and did in the cache, and return the commands that look at it again."""
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
        return f"it could not be kept: {error}"
    commands_know_the_cache = settings.cache.source in ("default", "environment")
    name = file.stem if commands_know_the_cache else file
    return (
        f"pytest-mme replay {name}   # judges it again, with --run does it again\n"
        f"pytest-mme bundle {name}   # makes one file of it"
    )
