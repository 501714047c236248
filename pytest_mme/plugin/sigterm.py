"""SIGTERM ends a session like Ctrl-C; without this, it ends pytest on the spot and nothing is cleaned up."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from pytest_mme.plugin.options import SETTINGS
from pytest_mme.plugin.run import is_worker

if TYPE_CHECKING:
    from types import FrameType


def pytest_configure(config: pytest.Config) -> None:
    """Handle SIGTERM for as long as the session lasts, where nobody else does."""
    if config.stash[SETTINGS].no_signal.value or is_worker(config):
        return
    try:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # pytest does not run in the main thread
        return
    config.add_cleanup(_restore)


def _restore() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")
