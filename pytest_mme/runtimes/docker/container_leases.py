"""Which run owns a container, and the removal of containers whose owners are dead."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.errors import NotReadyError, UnavailableError
from pytest_mme.runtimes.docker.engine import connect
from pytest_mme.waiting import wait_for

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

RUN = "pytest-mme.run"
"""The label with the run's directory: its lock shows whether the owner lives."""
_OWNER, _WORKER, _TEST = "pytest-mme.owner", "pytest-mme.worker", "pytest-mme.test"
RECORD = "containers"
"""The file in a run's directory that names every container made for it."""
LEFT = "left by a run that died"
_FORGOTTEN = timedelta(days=1)
"""A container of another machine, on an engine that both use, counts as abandoned when it is so old."""
_IS_GOING = 409
_GOES_WITHIN_S = 30.0

log = logging.getLogger("pytest_mme")


def labels(run: Path) -> dict[str, str]:
    """The labels of a container: its run, the run's owner, and the worker and the test that it was started for."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return {RUN: str(run), _OWNER: _owner(), _WORKER: os.environ.get("PYTEST_XDIST_WORKER", "main"), _TEST: test}


def _owner() -> str:
    """One user on one machine with one view of the file system: such an owner's locks can be inspected."""
    try:  # a service may have a temporary folder of its own, in a mount namespace (systemd, PrivateTmp=)
        file_system = str(Path("/proc/self/ns/mnt").stat().st_ino)
    except OSError:
        file_system = "unknown"
    return f"{user_name()}@{socket.gethostname()}/{file_system}"


def user_name() -> str:
    """The name of this process's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def promise_container(run: Path, name: str) -> None:
    """Note, before it is created, that the run has a container, so that it is removed in any case."""
    with (run / RECORD).open("a") as record:
        record.write(f"{name}\n")


def remove_recorded(run: Path, *, reason: str) -> list[str]:
    """Remove the containers that a run has noted, and return the names of those that existed. *reason*: for the log."""
    record = run / RECORD
    if not record.exists():
        return []
    try:
        engine = connect()
    except UnavailableError as error:
        log.warning("containers of %s may be left: %s", run, error)  # a later sweep finds them by their labels
        return []
    with contextlib.closing(engine):
        return _removed(engine, record.read_text().splitlines(), reason)


def _removed(engine: docker.DockerClient, names: Iterable[str], reason: str) -> list[str]:
    """Remove those that exist; a container that the engine does not remove now is left to a later sweep."""
    from docker.errors import APIError

    removed = []
    for name in names:
        try:
            if remove(engine, name):
                removed.append(name)
                log.info("removed the container %s, %s", name, reason)
        except (APIError, NotReadyError) as error:
            log.warning("the container %s could not be removed: %s", name, error)
    return removed


def remove(engine: docker.DockerClient, name: str) -> bool:
    """Remove a container with its volumes; False when it did not exist, or somebody else was removing it."""
    from docker.errors import APIError, NotFound

    try:
        engine.containers.get(name).remove(force=True, v=True)
    except NotFound:
        return False
    except APIError as error:
        if error.status_code != _IS_GOING:
            raise
        wait_for(lambda: _is_gone(engine, name) or None, what=f"the removal of {name}", timeout_s=_GOES_WITHIN_S)
        return False
    return True


def _is_gone(engine: docker.DockerClient, name: str) -> bool:
    from docker.errors import NotFound

    try:
        engine.containers.get(name)
    except NotFound:
        return True
    return False


def sweep(engine: docker.DockerClient, owner_lives: Callable[[Path], bool]) -> list[str]:
    """Remove the containers of runs whose owners are dead, and return their names. *owner_lives* takes a run's directory."""
    found = engine.containers.list(all=True, filters={"label": RUN}, ignore_removed=True)
    return _removed(engine, [str(one.name) for one in found if _is_abandoned(one, owner_lives)], LEFT)


def _is_abandoned(container: Container, owner_lives: Callable[[Path], bool]) -> bool:
    """Whether a container is abandoned: by its run's lock, or by its age if that is another machine's or user's."""
    if container.labels.get(_OWNER) == _owner():
        return not owner_lives(Path(container.labels[RUN]))
    created = str(container.attrs["Created"])[:19]  # without its nanoseconds, which Python before 3.11 does not parse
    at = datetime.strptime(created, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return datetime.now(timezone.utc) - at > _FORGOTTEN
