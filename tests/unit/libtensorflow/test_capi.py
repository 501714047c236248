"""Opening TensorFlow's libraries."""

from __future__ import annotations

import _ctypes
import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from pytest_mme.errors import TensorFlowMissingError
from pytest_mme.libtensorflow.capi import Library, installed_directory


def test_the_installed_version_is_opened(library: Library) -> None:
    assert library.version == importlib.metadata.version("tensorflow")
    assert library.directory == installed_directory()


def test_the_libraries_can_be_opened_twice(library: Library) -> None:
    assert Library(library.directory).version == library.version


def test_a_folder_without_the_libraries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorFlowMissingError, match="cannot open shared object file") as caught:
        Library(tmp_path)
    assert caught.value.looked_for == str(tmp_path / "libtensorflow_cc.so.2")


def test_a_library_that_is_not_tensorflows_is_refused(tmp_path: Path) -> None:
    for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2"):
        (tmp_path / name).symlink_to(_ctypes.__file__)
    with pytest.raises(TensorFlowMissingError, match="undefined symbol: TF_Version"):
        Library(tmp_path)


def test_without_an_installed_tensorflow_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(TensorFlowMissingError, match=r"pip install 'tensorflow>=2\.12'"):
        Library()


def test_a_function_that_is_not_bound_is_an_attribute_error(library: Library) -> None:
    with pytest.raises(AttributeError, match="TF_Nonsense is not among the functions"):
        library.TF_Nonsense  # noqa: B018
