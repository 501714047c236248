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


def test_a_good_archive_has_no_findings_and_its_signature_is_shown(mme_models: Models) -> None:
    done = doctor(mme_models.linear().archive)
    assert done.exit_code == 0
    assert "no findings" in done.output
    assert "serving_default: x: float[?, ?] -> identity: string[?], y: float[?, ?]" in done.output


def test_a_finding_is_shown_with_what_was_seen_why_it_matters_and_what_to_do(mme_models: Models) -> None:
    done = doctor(mme_models.forge(mme_models.linear(), "unknown-op").archive)
    assert done.exit_code == 1
    assert "MME304 error: a custom operation in 1" in done.output
    for label in ("seen: OpFromTheFuture", "why:  it does not load", "next: serve it in an image"):
        assert label in done.output


def test_a_finding_that_only_informs_leaves_the_exit_status_0(mme_models: Models) -> None:
    done = doctor(mme_models.forge(mme_models.linear(), "hidden-macos-files").archive)
    assert "MME106 info" in done.output
    assert done.exit_code == 0


def test_a_finding_names_the_tensorflow_versions_that_it_holds_for(mme_models: Models) -> None:
    done = doctor(mme_models.keras().archive, "--tf", "2.5.3", "--tf", "2.9", "--tf", "2.12.1")
    assert done.exit_code == 1
    assert "MME303 error: an operation that this TensorFlow does not have in 1 on TensorFlow 2.5.3, 2.9" in done.output


def test_json_has_the_contents_and_findings_of_each_archive(mme_models: Models) -> None:
    good, bad = mme_models.linear(), mme_models.forge(mme_models.linear(), "absent-tag")
    done = doctor(good.archive, bad.archive, "--json", "--tf", "2.12.1")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert found["serving"] == ["2.12.1"]
    assert found["archives"][str(good.archive)]["findings"] == []
    assert found["archives"][str(good.archive)]["versions"]["1"]["ops"]["Placeholder"] == 1
    (finding,) = found["archives"][str(bad.archive)]["findings"]
    assert (finding["code"], finding["severity"]) == ("MME202", "error")
    assert {"title", "why", "advice", "source", "fact", "where", "tensorflow"} <= set(finding)


def test_latest_and_installed_are_resolved_to_releases(mme_models: Models) -> None:
    done = doctor(mme_models.linear().archive, "--json", "--tf", "latest", "--tf", "installed", "--tf", "2.15")
    assert json.loads(done.output)["serving"] == list(dict.fromkeys((LAST, versions.installed(), "2.15")))


def test_json_has_the_imports_and_requirements_of_the_handler(mme_models: Models, tmp_path: Path) -> None:
    code = "import json\nfrom os import path\ndef handler(data, context):\n    import numpy.linalg\n"
    folder = tmp_path / "model"
    extract(mme_models.linear(handler=code).archive, folder)
    (folder / "code" / "requirements.txt").write_text("numpy==1.26  # pinned\n")
    found = json.loads(doctor(folder, "--json").output)["archives"][str(folder)]
    assert found["code"] == ["code/inference.py", "code/requirements.txt"]
    assert found["imports"] == ["json", "numpy", "os"]
    assert found["requirements"] == ["numpy==1.26"]


@pytest.mark.parametrize("version", ["2.4.4", "nonsense"])
def test_an_unknown_version_is_refused(mme_models: Models, version: str) -> None:
    done = doctor(mme_models.linear().archive, "--tf", version)
    assert done.exit_code == 2
    assert f"nothing is known of TensorFlow {version}" in done.output


def test_an_archive_that_does_not_exist_exits_with_2(tmp_path: Path) -> None:
    done = doctor(tmp_path / "absent.tar.gz")
    assert done.exit_code == 2
    assert "nothing of that name" in done.output


def test_after_unreadable_archives_the_others_are_still_examined(mme_models: Models, tmp_path: Path) -> None:
    absent, unreadable, good = tmp_path / "absent.tar.gz", tmp_path / ("n" * 300), mme_models.linear().archive
    done = doctor(absent, unreadable, good)
    assert done.exit_code == 2
    assert "nothing of that name" in done.output
    assert "File name too long" in done.output
    assert "no findings" in done.output
    found = json.loads(doctor(absent, unreadable, good, "--json").output)["archives"]
    assert "nothing of that name" in found[str(absent)]["error"]
    assert "File name too long" in found[str(unreadable)]["error"]
    assert found[str(good)]["findings"] == []
