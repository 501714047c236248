"""`pytest-mme tensorflow`, and `pytest-mme serve --tf`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import versions
from pytest_mme.cli import app


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one version, whose folder is empty."""
    directory = tmp_path / "tensorflow" / "2.14.1"
    directory.mkdir(parents=True)
    (directory / "used").touch()
    return tmp_path


def tensorflow(*arguments: object) -> Result:
    command = ["tensorflow", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "300"}, catch_exceptions=False)


def test_list_shows_the_installed_and_the_kept_versions(cache: Path) -> None:
    done = tensorflow("list", "--cache", cache)
    assert done.exit_code == 0
    for seen in (versions.installed(), "installed", "2.14.1", f"in {cache / 'tensorflow'}\n"):
        assert seen in done.output


def test_fetch_does_not_fetch_a_kept_version_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    done = tensorflow("fetch", "2.14", "2.14.1", "installed", "--cache", cache)
    assert done.exit_code == 0
    assert done.output.count(f"TensorFlow 2.14.1 is in {cache / 'tensorflow' / '2.14.1'}") == 2
    assert f"TensorFlow {versions.installed()} is in " in done.output


def test_remove_removes_a_version_once(cache: Path) -> None:
    assert "removed TensorFlow 2.14.1" in tensorflow("remove", "2.14.1", "--cache", cache).output
    assert not (cache / "tensorflow" / "2.14.1").exists()
    again = tensorflow("remove", "2.14.1", "--cache", cache)
    assert again.exit_code == 1
    assert "TensorFlow 2.14.1 in the cache cannot be had here" in again.output


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [("2.4.4", 2, "is too old"), ("newest", 2, "is not a version"), ("2.13.1", 1, "pip says: ")],
)
def test_fetch_explains_why_a_version_is_unavailable(
    cache: Path, monkeypatch: pytest.MonkeyPatch, asked: str, status: int, message: str
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    done = tensorflow("fetch", asked, "--cache", cache)
    assert done.exit_code == status
    assert message in done.output


def test_serve_refuses_a_version_that_is_too_old(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", str(tmp_path), "--tf", "2.4.4"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "is too old" in done.output
