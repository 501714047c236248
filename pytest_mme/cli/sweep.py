"""`pytest-mme sweep`."""

from __future__ import annotations

import contextlib

from pytest_mme.cli.output import show_line
from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.runtimes.docker.engine import connect


def sweep_left() -> None:
    """Remove what runs have left behind that were killed: directories, memory cgroups, containers.

    Every run does the same when it begins. Runs that live, and whatever is not the kit's own, are left alone.
    """
    removed = list[str]()
    try:
        with contextlib.closing(connect()) as engine:
            removed += [f"container {name}" for name in container_leases.sweep(engine, leases.owner_lives)]
    except UnavailableError as error:
        show_line(f"containers were not looked for: {error.seen}")
    removed += leases.sweep()  # last: with a run's directory goes what says whose a container is
    for what in removed:
        show_line(f"removed {what}")
    if not removed:
        show_line("nothing was left behind")
