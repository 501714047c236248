"""How versions are asked for."""

from __future__ import annotations

import importlib.metadata

import pytest

from pytest_mme import versions
from pytest_mme.errors import UnavailableError


@pytest.mark.parametrize("asked", ["2.5.0", "2.15", "2.15.0.post1", "2.22.0rc0", "3.0.1", "installed", "latest"])
def test_a_name_of_a_version_is_accepted(asked: str) -> None:
    assert versions.check(asked) == asked


@pytest.mark.parametrize("asked", ["2", "2.", "v2.15.1", "2.15.x", "2.15.1 ", "==2.15.1", "", "newest", "2.15.1.1"])
def test_a_name_that_is_not_a_version_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match=r"is not a version: give one as in 2.15.1 or 2.15, or installed, or latest"):
        versions.check(asked)


@pytest.mark.parametrize("asked", ["2.4", "2.4.4", "1.15.5", "0.12.0"])
def test_a_version_that_is_too_old_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match=r"is too old: 2.5 is the oldest that can be run"):
        versions.check(asked)


def test_the_installed_version_is_found_in_either_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UnavailableError, match="TensorFlow is not installed"):
        versions.installed()
    there["tensorflow-cpu"] = "2.15.1"
    assert versions.installed() == "2.15.1"
