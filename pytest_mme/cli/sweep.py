"""`pytest-mme sweep`."""

from __future__ import annotations

import contextlib

from pytest_mme.cli.output import show_line
from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes import leases
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.runtimes.docker.engine import connect


def sweep_left() -> None:
    """Remove the directories, memory cgroups and containers of runs that were killed.

    Every run does the same when it begins, so this is for machines where no other follows. Living runs, and whatever
    is not the kit's own, are left alone.

        pytest-mme sweep

    Exit status: 0.
    """
    removed = list[str]()
    try:
        with contextlib.closing(connect()) as engine:
            removed += [f"container {name}" for name in container_leases.sweep(engine, leases.owner_lives)]
    except UnavailableError as error:
        show_line(f"containers were not searched: {error.seen}")
    removed += leases.sweep()  # last: a run's directory shows which containers are its own
    for what in removed:
        show_line(f"removed {what}")
    if not removed:
        show_line("there was nothing to remove")
