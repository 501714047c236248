"""Which processes still run; a zombie does not: where a container's first process reaps no orphans, they stay zombies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil

from pytest_mme.errors import NotReadyError
from pytest_mme.waiting import wait_for


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def survivors(processes: Iterable[psutil.Process], *, timeout_s: float = 10) -> list[psutil.Process]:
    """Those of *processes* that still run after *timeout_s*; returns as soon as none does."""
    processes = list(processes)
    with contextlib.suppress(NotReadyError):
        wait_for(lambda: not any(map(is_alive, processes)) or None, what="the ends of processes", timeout_s=timeout_s)
    return [process for process in processes if is_alive(process)]
