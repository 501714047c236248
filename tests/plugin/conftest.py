"""Tests of the plugin through `pytester`: runs of pytest inside runs of pytest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Settings

RunPytest = Callable[..., pytest.RunResult]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mme_settings: Settings) -> pytest.Pytester:
    """A pytester whose runs share this run's cache and keep their directories apart from everybody's."""
    (pytester.path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(pytester.path / "tmp"))
    monkeypatch.setenv("PYTEST_MME_CACHE", str(mme_settings.cache.value))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # other tests of this process may have set it
    return pytester


@pytest.fixture
def run_directories(inner: pytest.Pytester) -> Callable[[], list[Path]]:
    """Return the directories that inner runs have left, those that were kept included."""
    return lambda: sorted(path for path in (inner.path / "tmp").glob("pytest-mme-*/*") if path.is_dir())
