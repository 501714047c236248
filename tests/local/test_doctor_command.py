"""`pytest-mme doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Models, versions
from pytest_mme.archives.archive import extract
from pytest_mme.archives.op_registry import registry
from pytest_mme.cli import app

LAST = registry().releases[-1]


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


def test_the_latest_that_is_known_and_the_installed_one(mme_models: Models) -> None:
    done = doctor(mme_models.linear().archive, "--json", "--tf", "latest", "--tf", "installed", "--tf", "2.15")
    assert json.loads(done.output)["serving"] == list(dict.fromkeys((LAST, versions.installed(), "2.15")))


def test_what_the_handler_needs_is_in_the_json(mme_models: Models, tmp_path: Path) -> None:
    code = "import json\nfrom os import path\ndef handler(data, context):\n    import numpy.linalg\n"
    folder = tmp_path / "model"
    extract(mme_models.linear(handler=code).archive, folder)
    (folder / "code" / "requirements.txt").write_text("numpy==1.26  # pinned\n")
    said = json.loads(doctor(folder, "--json").output)["archives"][str(folder)]
    assert said["code"] == ["code/inference.py", "code/requirements.txt"]
    assert said["imports"] == ["json", "numpy", "os"]
    assert said["requirements"] == ["numpy==1.26"]


@pytest.mark.parametrize("version", ["2.4.4", "nonsense"])
def test_a_version_that_nothing_is_known_of(mme_models: Models, version: str) -> None:
    done = doctor(mme_models.linear().archive, "--tf", version)
    assert done.exit_code == 2
    assert f"nothing is known of TensorFlow {version}" in done.output


def test_what_is_no_archive(tmp_path: Path) -> None:
    done = doctor(tmp_path / "absent.tar.gz")
    assert done.exit_code == 2
    assert "nothing of that name" in done.output


def test_the_others_are_examined_all_the_same(mme_models: Models, tmp_path: Path) -> None:
    absent, unreadable, good = tmp_path / "absent.tar.gz", tmp_path / ("n" * 300), mme_models.linear().archive
    done = doctor(absent, unreadable, good)
    assert done.exit_code == 2
    assert "nothing of that name" in done.output
    assert "File name too long" in done.output
    assert "nothing was found" in done.output
    said = json.loads(doctor(absent, unreadable, good, "--json").output)["archives"]
    assert "nothing of that name" in said[str(absent)]["error"]
    assert "File name too long" in said[str(unreadable)]["error"]
    assert said[str(good)]["findings"] == []
