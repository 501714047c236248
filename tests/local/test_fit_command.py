"""`pytest-mme fit`: on the embedded server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Model, Models
from pytest_mme.cli import app

pytestmark = pytest.mark.slow

_CLOSE = 0.15
_MIB = 1 << 20


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["fit", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


def document(*arguments: object) -> Any:
    return json.loads(fit(*arguments, "--json").stdout)


@pytest.fixture
def sized(mme_models: Models) -> list[Model]:
    """Models of different sizes, one of which allocates memory for each request."""
    return [
        mme_models.linear("small", weights_mib=20),
        mme_models.linear("large", weights_mib=60),
        mme_models.linear("allocating", weights_mib=30, allocate_mib=30, busy_ms=20),
    ]


def test_the_predicted_memory_is_close_to_the_measured(sized: list[Model]) -> None:
    archives = [model.archive for model in sized]
    done = fit(*archives, "--memory", 4096, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert abs(found["verdict"]["error"]) <= _CLOSE
    small, large, allocating = found["archives"]
    for one, weights_mib in ((small, 20), (large, 60), (allocating, 30)):
        assert weights_mib * _MIB < one["loaded_bytes"] < (weights_mib + 40) * _MIB
    assert allocating["asked_bytes"] - allocating["loaded_bytes"] >= 25 * _MIB
    assert found["together"]["loaded_bytes"] > 110 * _MIB
    assert found["verdict"]["all_fit"]


def test_models_that_all_fit_exit_with_0_and_progress_is_shown(mme_models: Models) -> None:
    models = mme_models.fleet(2)
    done = fit(*(model.archive for model in models), "--memory", 4096)
    assert done.exit_code == 0
    assert "All 2 fit into 4096 MiB" in done.stdout
    assert "Predicted, as the sum of each alone" in done.stdout
    assert "1 of 2: " in done.stderr
    assert "all 2 together" in done.stderr


def test_models_that_do_not_all_fit_exit_with_1_and_the_largest_is_named(sized: list[Model]) -> None:
    done = fit(sized[0].archive, sized[1].archive, "--memory", 60, "--concurrency", 1)
    assert done.exit_code == 1
    assert "Not all 2 fit into 60 MiB" in done.stdout
    assert "any 0: the largest does not fit even alone" in done.stdout
    assert "some 1: so many fit if they are the smallest" in done.stdout


def test_after_an_archive_that_does_not_load_the_others_are_measured(mme_models: Models, tmp_path: Path) -> None:
    model = mme_models.linear()
    broken = mme_models.forge(model, "unknown-op").archive
    absent = tmp_path / "absent.tar.gz"
    done = fit(broken, absent, model.archive, "--memory", 4096)
    assert done.exit_code == 2
    assert "absent.tar.gz could not be loaded: " in done.stdout
    assert f"{broken.name} could not be loaded: 500: {broken.name} cannot be loaded: NOT_FOUND: Op type" in done.stdout
    assert "All 1 that load fit into 4096 MiB" in done.stdout


def test_without_any_archive_that_loads_there_is_no_verdict(tmp_path: Path) -> None:
    done = fit(tmp_path / "absent.tar.gz", "--memory", 4096, "--json")
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert (found["archives"], found["together"], found["verdict"]) == ([], None, None)
    assert list(found["not_loaded"]) == ["absent.tar.gz"]


def test_the_request_of_a_file_is_sent_and_reported(mme_models: Models, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text('{"instances": [[1.0, 2.0]]}')
    (one,) = document(mme_models.linear().archive, "--memory", 4096, "--request", body)["archives"]
    assert (one["request"], one["refused"]) == (body.read_text(), None)
    assert one["busy_bytes"]


def test_after_a_refused_request_the_memory_of_the_load_is_still_shown(mme_models: Models, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text('{"instances": ["text"]}')
    done = fit(mme_models.linear().archive, "--memory", 4096, "--request", body)
    assert done.exit_code == 0
    assert "was not measured at every request: 400: " in done.stdout


def test_a_model_without_a_default_signature_is_only_loaded(mme_models: Models) -> None:
    archive = mme_models.linear(signatures=("other",)).archive
    (one,) = document(archive, "--memory", 4096)["archives"]
    assert "no signature serving_default" in one["refused"]
    assert (one["request"], one["asked_bytes"], one["busy_bytes"]) == (None, None, None)


def test_after_a_model_that_dies_of_a_request_the_others_are_measured(mme_models: Models) -> None:
    deadly = mme_models.linear("deadly", handler="import os\n\ndef handler(data, context):\n    os._exit(3)\n")
    found = document(deadly.archive, mme_models.linear().archive, "--memory", 4096)
    first, second = found["archives"]
    assert first["refused"].startswith("500: ")
    assert first["asked_bytes"] is None
    assert second["refused"] is None
    assert found["together"]["busy_bytes"]


def test_one_archive_given_twice_is_two_models(mme_models: Models) -> None:
    archive = mme_models.text().archive
    found = document(archive, archive, "--memory", 4096, "--concurrency", 2)
    assert [one["refused"] for one in found["archives"]] == [None, None]
    assert len({one["archive"] for one in found["archives"]}) == 2
    assert found["concurrency"] == 2


def test_a_value_that_is_not_a_version_exits_with_2(mme_models: Models) -> None:
    done = fit(mme_models.linear().archive, "--memory", 4096, "--tf", "nonsense")
    assert done.exit_code == 2
    assert "is not a version" in done.output
