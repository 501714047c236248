"""How versions are asked for."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pytest_mme import versions
from pytest_mme.archives.op_registry import registry
from pytest_mme.errors import UnavailableError
from pytest_mme.plugin import fixtures
from pytest_mme.runtimes import spec


@pytest.mark.parametrize(
    "asked",
    [
        "2.5.0",
        "2.15",
        "2.15.0.post1",
        "2.22.0rc0",
        "2.22.0.dev20260801",
        "2.15.0+nv24.3",
        "3.0.1",
        "installed",
        "latest",
    ],
)
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


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, empty, beside which there is no other."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return tmp_path


def install(site: Path, wheel: str, version: str) -> None:
    """What a wheel that brings the package `tensorflow` leaves behind."""
    (site / "tensorflow").mkdir(exist_ok=True)
    (site / "tensorflow" / "__init__.py").touch()
    described = site / f"{wheel.replace('-', '_')}-{version}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {wheel}\nVersion: {version}\n")
    (described / "RECORD").write_text("tensorflow/__init__.py,,\n")


@pytest.mark.parametrize("wheel", ["tensorflow", "tensorflow-cpu", "intel-tensorflow", "tf-nightly", "tensorflow-rocm"])
def test_the_installed_version_is_that_of_whichever_wheel(site: Path, wheel: str) -> None:
    install(site, wheel, "2.15.1")
    assert versions.installed() == versions.default() == "2.15.1"


@pytest.mark.usefixtures("site")
def test_without_any_wheel_there_is_none_installed_and_the_default_serves() -> None:
    with pytest.raises(UnavailableError, match=r"pip install 'pytest-mme\[tensorflow\]', or name a version"):
        versions.installed()
    assert versions.default() == versions.DEFAULT


def test_a_folder_that_is_called_tensorflow_is_not_an_installed_one(site: Path) -> None:
    (site / "tensorflow").mkdir()
    with pytest.raises(UnavailableError, match="is not installed"):
        versions.installed()


def test_the_default_is_the_newest_version_whose_operations_are_known() -> None:
    assert registry().releases[-1] == versions.DEFAULT


@pytest.mark.parametrize("module", [fixtures, spec], ids=["fixtures", "spec"])
def test_docstrings_name_the_version_that_serves_by_default(module: ModuleType) -> None:
    assert versions.BY_DEFAULT in inspect.getsource(module)
