"""What unit tests of several rooms use."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_mme.archives.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of the test's own."""
    return Store(tmp_path / "store")
