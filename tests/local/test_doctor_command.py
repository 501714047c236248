"""`pytest-mme doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Models
from pytest_mme.cli import app


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_a_good_archive(mme_models: Models) -> None:
    done = doctor(mme_models.linear().archive)
    assert done.exit_code == 0
    assert "nothing was found" in done.output
    assert "serving_default: x: float[?, ?] -> identity: string[?], y: float[?, ?]" in done.output


def test_what_is_found_is_explained(mme_models: Models) -> None:
    done = doctor(mme_models.forge(mme_models.linear(), "unknown-op").archive)
    assert done.exit_code == 1
    assert "MME304 error: a custom operation in 1" in done.output
    for label in ("seen: OpFromTheFuture", "why:  it does not load", "next: serve it in an image"):
        assert label in done.output


def test_information_leaves_the_exit_status_0(mme_models: Models) -> None:
    done = doctor(mme_models.forge(mme_models.linear(), "hidden-macos-files").archive)
    assert "MME106 info" in done.output
    assert done.exit_code == 0


def test_several_versions_of_tensorflow_at_once(mme_models: Models) -> None:
    done = doctor(mme_models.keras().archive, "--tf", "2.5.3", "--tf", "2.9", "--tf", "2.12.1")
    assert done.exit_code == 1
    assert "MME303 error: an operation that this TensorFlow does not have in 1 on TensorFlow 2.5.3, 2.9" in done.output


def test_several_archives_and_json(mme_models: Models) -> None:
    good, bad = mme_models.linear(), mme_models.forge(mme_models.linear(), "absent-tag")
    done = doctor(good.archive, bad.archive, "--json", "--tf", "2.12.1")
    assert done.exit_code == 1
    said = json.loads(done.output)
    assert said["serving"] == ["2.12.1"]
    assert said["archives"][str(good.archive)]["findings"] == []
    assert said["archives"][str(good.archive)]["versions"]["1"]["ops"]["Placeholder"] == 1
    (finding,) = said["archives"][str(bad.archive)]["findings"]
    assert (finding["code"], finding["severity"]) == ("MME202", "error")
    assert {"title", "why", "advice", "source", "fact", "where", "tensorflow"} <= set(finding)


@pytest.mark.parametrize("version", ["2.4.4", "latest", "nonsense"])
def test_a_version_that_nothing_is_known_of(mme_models: Models, version: str) -> None:
    done = doctor(mme_models.linear().archive, "--tf", version)
    assert done.exit_code == 2
    assert f"nothing is known of {version}" in done.output


def test_what_is_no_archive(tmp_path: Path) -> None:
    done = doctor(tmp_path / "absent.tar.gz")
    assert done.exit_code == 2
    assert "nothing of that name" in done.output
