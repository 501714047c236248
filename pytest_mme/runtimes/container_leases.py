"""Whose a container is, and the removal of those whose owners are dead."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.engine import connect

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

RUN = "pytest-mme.run"
"""The label with the run's directory, whose lock says whether the owner lives."""
_OWNER, _WORKER, _TEST = "pytest-mme.owner", "pytest-mme.worker", "pytest-mme.test"
_RECORD = "containers"
_FORGOTTEN = timedelta(days=1)
"""A container of another machine, on an engine that both use, is taken for left behind when it is so old."""

log = logging.getLogger("pytest_mme")


def labels(run: Path) -> dict[str, str]:
    """What says whose a container is: the run, its owner, and the worker and the test that it was started for."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return {RUN: str(run), _OWNER: _owner(), _WORKER: os.environ.get("PYTEST_XDIST_WORKER", "main"), _TEST: test}


def _owner() -> str:
    return f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def promise_container(run: Path, name: str) -> None:
    """Note, before it is created, that the run has a container: whoever cleans up asks the engine."""
    with (run / _RECORD).open("a") as record:
        record.write(f"{name}\n")


def remove_recorded(run: Path) -> list[str]:
    """Remove the containers that a run has noted; the names of those that were still there."""
    record = run / _RECORD
    if not record.exists():
        return []
    try:
        engine = connect()
    except UnavailableError as error:
        log.warning("containers of %s may be left: %s", run, error)  # their labels tell a later sweep
        return []
    with contextlib.closing(engine):
        return [name for name in record.read_text().splitlines() if _remove(engine, name)]


def _remove(engine: docker.DockerClient, name: str) -> bool:
    from docker.errors import APIError, NotFound

    try:
        engine.containers.get(name).remove(force=True, v=True)
    except NotFound:
        return False
    except APIError as error:  # somebody else is removing it
        log.info("the container %s: %s", name, error)
        return False
    log.info("removed the container %s, left by a run that died", name)
    return True


def sweep(engine: docker.DockerClient, owner_lives: Callable[[Path], bool]) -> list[str]:
    """Remove the containers of runs whose owners are dead; their names. *owner_lives* is told a run's directory."""
    found = engine.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
    return [str(one.name) for one in found if _is_left(one, owner_lives) and _remove(engine, str(one.name))]


def _is_left(container: Container, owner_lives: Callable[[Path], bool]) -> bool:
    """Whose lock can be looked at is judged by it; others, of other machines or users, by their age."""
    if container.labels.get(_OWNER) == _owner():
        return not owner_lives(Path(container.labels[RUN]))
    return datetime.now(timezone.utc) - _created(container) > _FORGOTTEN


def _created(container: Container) -> datetime:
    """The engine tells nanoseconds, which Python before 3.11 does not read."""
    whole = str(container.attrs["Created"])[:19]
    return datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
