"""Tests that try hard, for minutes: `make test-all` runs them."""

from __future__ import annotations

import pytest

from tests.local.conftest import gate, gated, pool

__all__ = ["gate", "gated", "pool"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark all tests of this folder."""
    item.add_marker("stress")
