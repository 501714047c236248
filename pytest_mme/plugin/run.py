"""The run of the kit that a session's tests share: xdist's workers join that of their controller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_mme.plugin.options import SETTINGS

if TYPE_CHECKING:
    from pytest_mme.kit import Run
    from pytest_mme.runtimes.leases import RunDirectory

_DIRECTORY: pytest.StashKey[RunDirectory] = pytest.StashKey()
_RUN: pytest.StashKey[Run] = pytest.StashKey()


def run_of(config: pytest.Config) -> Run:
    """Return the run of this process. A session that uses none of the fixtures never makes one."""
    from pytest_mme.kit import Run

    if _RUN not in config.stash:
        run = Run(config.stash[SETTINGS], directory=directory_of(config))
        config.add_cleanup(run.close)
        config.stash[_RUN] = run
    return config.stash[_RUN]


def directory_of(config: pytest.Config) -> Path:
    """Return the run's directory, which belongs to the controller, since that outlives its workers."""
    if given := worker_input(config).get("mme_run"):
        return Path(given)
    if _DIRECTORY not in config.stash:
        from pytest_mme.runtimes import leases

        keep = config.stash[SETTINGS].keep.value
        config.stash[_DIRECTORY] = leases.own_directory(config.add_cleanup, keep=keep)
    return config.stash[_DIRECTORY].path


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """Return what xdist's controller has given to this worker; nothing in another process."""
    return getattr(config, "workerinput", {})


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker the directory of the run."""
    node.workerinput["mme_run"] = str(directory_of(node.config))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the run's directory of a session with failures, if that was asked for; the controller knows of them all."""
    stash = session.config.stash
    if session.testsfailed and _DIRECTORY in stash and stash[SETTINGS].keep.value == "failed":
        stash[_DIRECTORY].keep = True
