"""What pytest is told. Hooks only; loading this costs nothing (a test holds that)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.errors import SettingError
from pytest_mme.plugin import marks
from pytest_mme.plugin.session import (
    SETTINGS,
    asked_versions,
    begin_report,
    directory_of,
    evidence_so_far,
    fetch_versions,
    finish_report,
    forget_evidence,
    hear_reports,
    keep_failure,
    keep_for_the_page,
    keep_what_failed,
    matrix,
    report_complaint,
    said_of_archives,
    summaries,
    summaries_of,
)
from pytest_mme.settings import OPTIONS, Option, Settings

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

pytest_plugins = ["pytest_mme.plugin.fixtures"]

_COMPLAINT = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option in its spellings."""
    group = parser.getgroup("mme", "multi-model endpoints (pytest-mme)")
    for option in OPTIONS:
        described = (
            f"{option.help} (default: {option.default_text}; also {option.environment_name}, ini {option.ini_name})"
        )
        how: dict[str, Any] = {"action": "store_const", "const": "yes"} if option.flag else {"metavar": option.metavar}
        if option.many:
            how["action"] = "append"
        group.addoption(option.flag_name, dest=option.ini_name, default=None, help=described, **how)
        parser.addini(option.ini_name, option.help, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Settle the settings, once, at the edge."""
    config.addinivalue_line("markers", marks.DESCRIPTION)
    import os

    try:
        config.stash[SETTINGS] = Settings.resolve(
            cli=lambda option: _on_command_line(config, option),
            environment=os.environ,
            ini=lambda option: str(config.getini(option.ini_name)),
        )
    except SettingError as error:
        raise pytest.UsageError(str(error)) from error
    hear_reports(config)
    _end_like_ctrl_c_on_sigterm(config)


def _on_command_line(config: pytest.Config, option: Option) -> str | None:
    given = config.getoption(option.ini_name)
    return " ".join(given) if isinstance(given, list) else given


def _end_like_ctrl_c_on_sigterm(config: pytest.Config) -> None:
    """Without this, SIGTERM ends pytest on the spot and nothing is cleaned up."""
    if config.stash[SETTINGS].no_signal.value or hasattr(config, "workerinput"):
        return
    try:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # pytest does not run in the main thread
        return
    config.add_cleanup(_leave_sigterm_alone)


def _leave_sigterm_alone() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """An xdist worker joins the run of the controller, which outlives it."""
    node.workerinput["mme_run"] = str(directory_of(node.config))
    node.workerinput["mme_tf"] = asked_versions(node.config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Look up the versions that are asked for, before tests are collected for each of them."""
    asked_versions(session.config)
    begin_report(session.config)


def pytest_report_header(config: pytest.Config) -> str:
    """Which runtime, which TensorFlow, which memory enforcement, and what was set where."""
    from pytest_mme.plugin.header import header

    return header(config.stash[SETTINGS])


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """With `--mme-doctor`, an archive is a test."""
    if not parent.config.stash[SETTINGS].doctor.value or not file_path.name.endswith(".tar.gz"):
        return None
    from pytest_mme.plugin.doctor_items import ArchiveFile

    collected: ArchiveFile = ArchiveFile.from_parent(parent, path=file_path)
    collected.asked = parent.config.stash[SETTINGS].tf.value
    return collected


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that starts servers runs once on each TensorFlow that is asked for."""
    if "mme_tf" in metafunc.fixturenames and not _has_versions_of_its_own(metafunc.definition):
        with contextlib.suppress(ValueError):  # the mark is complained of when the test is set up
            if asked := marks.asked_versions(metafunc.definition) or asked_versions(metafunc.config):
                metafunc.parametrize("mme_tf", asked, indirect=True, scope="session")


def _has_versions_of_its_own(item: pytest.Item) -> bool:
    return any("mme_tf" in str(mark.args[:1]) for mark in item.iter_markers("parametrize"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fetch the versions that the tests will run on, once and where people see how far it is."""
    config = session.config
    if not (hasattr(config, "workerinput") or config.option.collectonly) and any(map(_starts_servers, session.items)):
        fetch_versions(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """An xdist worker notes whether its tests start servers: the controller, which fetches, has collected none."""
    if hasattr(session.config, "workerinput") and any(map(_starts_servers, session.items)):
        _note(session.config).touch()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Fetch what the workers' tests will run on, before they get any."""
    if _note(node.config).exists():
        fetch_versions(node.config)


def _note(config: pytest.Config) -> Path:
    return directory_of(config) / "starts-servers"


def _starts_servers(item: pytest.Item) -> bool:
    """Whether it runs on the versions of the session; those of a mark are fetched when it runs."""
    version = getattr(item, "callspec", None) and item.callspec.params.get("mme_tf")  # type: ignore[attr-defined]
    fixtures = getattr(item, "fixturenames", ())
    return "mme_tf" in fixtures and (version is None or version in asked_versions(item.config))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Read the marks; complaining here would be an internal error under xdist."""
    for item in items:
        if complaint := marks.complaint(item):
            item.stash[_COMPLAINT] = complaint


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Complain about a test's marks; forget what an earlier try of the same test has done."""
    forget_evidence(item)
    if _COMPLAINT in item.stash:
        pytest.fail(item.stash[_COMPLAINT], pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Say at the end of a test what its soft checks have found."""
    from pytest_mme.checks.soft import soft_checks

    with soft_checks() as found:
        try:
            result = yield
        except (pytest.skip.Exception, pytest.xfail.Exception):
            if not found:
                raise
        except BaseException:
            if found:
                item.add_report_section("call", "mme soft checks", "\n".join(map(str, found)))
            raise
        else:
            if not found:
                return result
    lines = "\n".join(map(str, found))
    return pytest.fail(f"{len(found)} soft checks failed:\n{lines}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the evidence travel with the report of a failing test."""
    report = yield
    try:
        _add_evidence(item, call, report)
    except Exception as error:  # noqa: BLE001  what the test itself has to say must not be lost for it
        report.sections.append(("mme evidence", f"it could not be gathered: {type(error).__name__}: {error}"))
    return report


def _add_evidence(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    evidence = evidence_so_far(item)
    if report.failed and evidence and not evidence.told:
        from pytest_mme.report.sections import sections

        report.sections.extend(sections(evidence.timeline, evidence.servers))
        report.sections.extend(keep_failure(item, _first_line(call)))
        as_property = ("mme_timeline", evidence.timeline.to_jsonl())
        report.user_properties.append(as_property)
        item.user_properties.append(as_property)  # the report of the tear-down is the one that JUnit reads
    if evidence:
        evidence.hear(report)
    if call.when == "teardown":
        report.user_properties.extend([*said_of_archives(item), *summaries_of(item)])
        keep_for_the_page(item)


def _first_line(call: pytest.CallInfo[None]) -> str:
    return (call.excinfo.exconly(tryshort=True).splitlines() or [""])[0] if call.excinfo else ""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The controller, which has heard of every failure, decides what is kept."""
    if session.testsfailed:
        keep_what_failed(session.config)
    finish_report(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the servers did, which archive runs on which TensorFlow, and where the report is."""
    if found := summaries(config):
        from pytest_mme.report.summary import show as show_summaries

        terminalreporter.section("mme: what the servers and endpoints did")
        show_summaries(found, config.get_terminal_writer())
    if tried := matrix(config):
        from pytest_mme.report.matrix import show

        terminalreporter.section("mme: which archive runs on which TensorFlow")
        show(tried, config.get_terminal_writer())
    if complaint := report_complaint(config):
        terminalreporter.line(f"mme: {complaint}", red=True)
    elif report := config.stash[SETTINGS].report.value:
        terminalreporter.line(f"mme: the report is {report}")
