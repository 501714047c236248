"""Tests on a real GPU; elsewhere they are skipped, and say why."""

from __future__ import annotations

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.serving.memory.gpu import Gpu


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The first visible GPU."""
    try:
        return Gpu()
    except UnavailableError as error:
        pytest.skip(f"no GPU to test on: {error.seen}")
