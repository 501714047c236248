"""`pytest-mme fit`: on the embedded server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Model, Models
from pytest_mme.cli import app

_CLOSE = 0.15
_MIB = 1 << 20


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["fit", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


def document(*arguments: object) -> Any:
    return json.loads(fit(*arguments, "--json").stdout)


@pytest.fixture
def sized(mme_models: Models) -> list[Model]:
    """Of the sizes that the prediction is held against."""
    return [
        mme_models.linear("small", weights_mib=20),
        mme_models.linear("large", weights_mib=60),
        mme_models.linear("allocating", weights_mib=30, allocate_mib=30, busy_ms=20),
    ]


def test_predicted_is_close_to_measured(sized: list[Model]) -> None:
    archives = [model.archive for model in sized]
    done = fit(*archives, "--memory", 4096, "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert abs(said["verdict"]["error"]) <= _CLOSE
    small, large, allocating = said["archives"]
    for one, weights_mib in ((small, 20), (large, 60), (allocating, 30)):
        assert weights_mib * _MIB < one["loaded_bytes"] < (weights_mib + 40) * _MIB
    assert allocating["asked_bytes"] - allocating["loaded_bytes"] >= 25 * _MIB
    assert said["together"]["loaded_bytes"] > 110 * _MIB
    assert said["verdict"]["all_fit"]


def test_all_fit(mme_models: Models) -> None:
    models = mme_models.fleet(2)
    done = fit(*(model.archive for model in models), "--memory", 4096)
    assert done.exit_code == 0
    assert "All 2 fit into 4096 MiB" in done.stdout
    assert "Predicted, the sum of each alone" in done.stdout
    assert "1 of 2: " in done.stderr
    assert "all 2 together" in done.stderr


def test_not_all_fit(sized: list[Model]) -> None:
    done = fit(sized[0].archive, sized[1].archive, "--memory", 60, "--concurrency", 1)
    assert done.exit_code == 1
    assert "Not all 2 fit into 60 MiB" in done.stdout
    assert "any 0: the dearest does not fit even alone" in done.stdout
    assert "some 1: so many fit if they are the cheapest" in done.stdout


def test_one_that_does_not_load_leaves_the_others(mme_models: Models, tmp_path: Path) -> None:
    model = mme_models.linear()
    broken = mme_models.forge(model, "unknown-op").archive
    absent = tmp_path / "absent.tar.gz"
    done = fit(broken, absent, model.archive, "--memory", 4096)
    assert done.exit_code == 2
    assert "absent.tar.gz could not be loaded: " in done.stdout
    assert f"{broken.name} could not be loaded: 500: {broken.name} cannot be loaded: NOT_FOUND: Op type" in done.stdout
    assert "All 1 that load fit into 4096 MiB" in done.stdout


def test_nothing_that_loads(tmp_path: Path) -> None:
    done = fit(tmp_path / "absent.tar.gz", "--memory", 4096, "--json")
    assert done.exit_code == 2
    said = json.loads(done.stdout)
    assert (said["archives"], said["together"], said["verdict"]) == ([], None, None)
    assert list(said["not_loaded"]) == ["absent.tar.gz"]


def test_a_request_of_ones_own(mme_models: Models, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text('{"instances": [[1.0, 2.0]]}')
    (one,) = document(mme_models.linear().archive, "--memory", 4096, "--request", body)["archives"]
    assert (one["request"], one["refused"]) == (body.read_text(), None)
    assert one["busy_bytes"]


def test_a_refused_request_leaves_what_the_load_took(mme_models: Models, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text('{"instances": ["text"]}')
    done = fit(mme_models.linear().archive, "--memory", 4096, "--request", body)
    assert done.exit_code == 0
    assert "was not measured at every request: 400: " in done.stdout


def test_without_a_default_signature_it_is_only_loaded(mme_models: Models) -> None:
    archive = mme_models.linear(signatures=("other",)).archive
    (one,) = document(archive, "--memory", 4096)["archives"]
    assert "no signature serving_default" in one["refused"]
    assert (one["request"], one["asked_bytes"], one["busy_bytes"]) == (None, None, None)


def test_a_model_that_dies_of_a_request_leaves_the_others(mme_models: Models) -> None:
    deadly = mme_models.linear("deadly", handler="import os\n\ndef handler(data, context):\n    os._exit(3)\n")
    said = document(deadly.archive, mme_models.linear().archive, "--memory", 4096)
    first, second = said["archives"]
    assert first["refused"].startswith("500: ")
    assert first["asked_bytes"] is None
    assert second["refused"] is None
    assert said["together"]["busy_bytes"]


def test_strings_and_one_archive_twice(mme_models: Models) -> None:
    archive = mme_models.text().archive
    said = document(archive, archive, "--memory", 4096, "--concurrency", 2)
    assert [one["refused"] for one in said["archives"]] == [None, None]
    assert len({one["archive"] for one in said["archives"]}) == 2
    assert said["concurrency"] == 2


def test_a_version_that_is_none(mme_models: Models) -> None:
    done = fit(mme_models.linear().archive, "--memory", 4096, "--tf", "nonsense")
    assert done.exit_code == 2
    assert "is no version" in done.output


def test_help_teaches() -> None:
    done = fit("--help")
    assert done.exit_code == 0
    assert "pytest-mme fit dist/*.tar.gz --memory 4096" in done.output
