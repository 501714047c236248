"""What a failing test shows: its timeline, its servers' logs and memory, and how to look at it again."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.plugin.options import SETTINGS

if TYPE_CHECKING:
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.models.builder import Model
    from pytest_mme.replay.bundle import Kind, Made
    from pytest_mme.runtimes.server import Server
    from pytest_mme.timeline.events import Timeline


class Evidence:
    """What a test has done: its timeline, its servers and endpoints, and what became of it."""

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
        """Note a server, an endpoint or a handler that the test has made."""
        from pytest_mme.replay.bundle import made

        self.servers.append(target)
        self.made.append(made(kind, target.name, fields, models))
        self.models |= {model.name: model for model in models}

    def all_models(self) -> dict[str, Model]:
        """Return the models of its endpoints, and those that were loaded into its servers."""
        loaded = {model.name: model for server in self.servers for model in server.models.values()}
        return {**loaded, **self.models}

    @property
    def failed(self) -> bool:
        """Whether a phase of the test has failed."""
        return self.outcome in ("failed", "error")

    def record(self, report: pytest.TestReport) -> None:
        """Record the outcome of a phase of the test."""
        if report.failed:
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
    if evidence is not None:
        with beside_the_failure(report):
            if report.failed and not evidence.failed:
                from pytest_mme.report.sections import sections

                report.sections.extend(sections(evidence.timeline, evidence.servers))
                if evidence.made:
                    failure = call.excinfo.exconly(tryshort=True).splitlines() if call.excinfo else []
                    report.sections.append(("mme replay", _keep_failure(evidence, item, next(iter(failure), ""))))
                as_property = ("mme_timeline", evidence.timeline.to_jsonl())
                report.user_properties.append(as_property)
                item.user_properties.append(as_property)  # JUnit reads those of the report of the tear-down
            evidence.record(report)
    return report


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
