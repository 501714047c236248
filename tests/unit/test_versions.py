"""How versions are asked for."""

from __future__ import annotations

import importlib.metadata

import pytest

from pytest_mme import versions
from pytest_mme.errors import UnavailableError


@pytest.mark.parametrize("asked", ["2.5.0", "2.15", "2.15.0.post1", "2.22.0rc0", "3.0.1", "installed", "latest"])
def test_what_can_be_asked_for(asked: str) -> None:
    assert versions.check(asked) == asked


@pytest.mark.parametrize("asked", ["2", "2.", "v2.15.1", "2.15.x", "2.15.1 ", "==2.15.1", "", "newest", "2.15.1.1"])
def test_what_is_no_version(asked: str) -> None:
    with pytest.raises(ValueError, match=r"is no version: give one as in 2.15.1 or 2.15, or installed, or latest"):
        versions.check(asked)


@pytest.mark.parametrize("asked", ["2.4", "2.4.4", "1.15.5", "0.12.0"])
def test_what_is_too_old(asked: str) -> None:
    with pytest.raises(ValueError, match=r"is too old: 2.5 is the oldest that can be run"):
        versions.check(asked)


def test_the_installed_version_is_that_of_whichever_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
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
