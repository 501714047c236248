"""What a pytest session holds: the settings, the run and its directory, and each test's evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.settings import Settings

if TYPE_CHECKING:
    from pytest_mme.events import Timeline
    from pytest_mme.hosting.endpoint import Endpoint
    from pytest_mme.run import Run
    from pytest_mme.runtimes.leases import RunDirectory
    from pytest_mme.runtimes.server import Server

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
_DIRECTORY: pytest.StashKey[RunDirectory] = pytest.StashKey()
_RUN: pytest.StashKey[Run] = pytest.StashKey()
_VERSIONS: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
_EVIDENCE: pytest.StashKey[Evidence] = pytest.StashKey()


class Evidence:
    """What a failing test has to show: its timeline, and its servers with their logs."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.servers: list[Server | Endpoint] = []


def evidence_of(item: pytest.Item) -> Evidence:
    """The evidence of a test, which begins when it is first asked for."""
    from pytest_mme.events import Timeline

    return item.stash.setdefault(_EVIDENCE, Evidence(Timeline()))


def evidence_so_far(item: pytest.Item) -> Evidence | None:
    """The evidence of a test that has any."""
    return item.stash.get(_EVIDENCE, None)


def run_of(config: pytest.Config) -> Run:
    """The run of this process. A session that uses none of the fixtures never makes one."""
    from pytest_mme.run import Run

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
    """Fetch the TensorFlow versions of `--mme-tf` that are not here, where they are not in images."""
    asked = asked_versions(config)
    if asked and config.stash[SETTINGS].runtime.value == "local":
        from pytest_mme.report.fetching import fetch_all

        try:
            fetch_all(run_of(config).toolchain, asked, config.pluginmanager.get_plugin("terminalreporter"))
        except UnavailableError as error:
            raise pytest.UsageError(str(error)) from error


def keep_what_failed(config: pytest.Config) -> None:
    """Tests have failed: keep the run's directory, if that is what was asked for."""
    if _DIRECTORY in config.stash and config.stash[SETTINGS].keep.value == "failed":
        config.stash[_DIRECTORY].keep = True
