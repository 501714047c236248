"""`--mme-tf`: a test that starts servers runs once on each of these TensorFlow versions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.plugin import marks
from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.run import directory_of, is_worker, run_of, worker_input

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mme.libtensorflow.version_cache import VersionCache

_VERSIONS = pytest.StashKey[tuple[str, ...]]()


def asked_versions(config: pytest.Config) -> tuple[str, ...]:
    """Return the exact versions of `--mme-tf`, which the controller looks up for its workers, too.

    Raises `pytest.UsageError` for a version that there is not.
    """
    given = worker_input(config).get("mme_tf")
    if given is not None:
        return tuple(given)
    if not config.stash[SETTINGS].tf.value:
        return ()
    if _VERSIONS not in config.stash:
        version_cache = run_of(config).version_cache
        try:
            config.stash[_VERSIONS] = tuple(dict.fromkeys(map(version_cache.resolve, config.stash[SETTINGS].tf.value)))
        except UnavailableError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[_VERSIONS]


def version_of(item: pytest.Item) -> str | None:
    """Return the version that a test is parametrised with; None for a test that is not."""
    version: str | None = getattr(getattr(item, "callspec", None), "params", {}).get("mme_tf")
    return version


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Look up the versions before tests are collected for each of them."""
    asked_versions(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the versions that were looked up."""
    node.workerinput["mme_tf"] = asked_versions(node.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise a test that starts servers, unless it does so itself."""
    test = metafunc.definition
    by_itself = any("mme_tf" in str(mark.args[:1]) for mark in test.iter_markers("parametrize"))
    if "mme_tf" in metafunc.fixturenames and not by_itself:
        with contextlib.suppress(ValueError):  # a mark that is wrong fails its test at set-up
            if asked := marks.asked_versions(test) or asked_versions(metafunc.config):
                metafunc.parametrize("mme_tf", asked, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fetch what is missing before the first test, once and with progress."""
    config = session.config
    if not (is_worker(config) or config.option.collectonly) and any(map(_starts_servers, session.items)):
        _fetch_all(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Let an xdist worker note whether its tests start servers: the controller, which fetches, has collected none."""
    if is_worker(session.config) and any(map(_starts_servers, session.items)):
        _note(session.config).touch()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Fetch what the workers' tests will run on, before they get any."""
    if _note(node.config).exists():
        _fetch_all(node.config)


def _note(config: pytest.Config) -> Path:
    return directory_of(config) / "starts-servers"


def _starts_servers(item: pytest.Item) -> bool:
    """Whether a test runs on the versions of the session; those of a mark are fetched when it runs."""
    version = version_of(item)
    uses_servers = "mme_tf" in getattr(item, "fixturenames", ())
    return uses_servers and (version is None or version in asked_versions(item.config))


def _fetch_all(config: pytest.Config) -> None:
    """Fetch the versions of `--mme-tf`, or the default one where none is installed; images have their own."""
    if config.stash[SETTINGS].runtime.value != "local":
        return
    asked, terminal = asked_versions(config), config.pluginmanager.get_plugin("terminalreporter")
    try:
        for version in asked or (None,):
            _fetch(version, run_of(config).version_cache, terminal)
    except UnavailableError as error:
        if asked:  # otherwise each test that needs it fails with this error, and others run
            raise pytest.UsageError(str(error)) from error


def _fetch(version: str | None, version_cache: VersionCache, terminal: Any) -> None:
    """Fetch a version, unless it is here already. *terminal*: pytest's reporter, or None."""
    shown = False

    def show(version: str, share: float) -> None:
        nonlocal shown
        if terminal is not None and terminal.isatty:
            terminal.rewrite(f"mme: fetching TensorFlow {version}, {share:.0%}", erase=True)
        elif terminal is not None and not shown:
            terminal.write_line(f"mme: fetching TensorFlow {version}")
        shown = True

    version_cache.directory(version, show)
    if terminal is not None and terminal.isatty and shown:
        terminal.rewrite("", erase=True)
