"""Frozen constants and Grappler: predictions stay the same, costs are measured, and refusals give their reason."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Models, Server
from pytest_mme.archives.archive import extract
from pytest_mme.archives.inspect import inspected
from pytest_mme.archives.op_registry import registry
from pytest_mme.archives.store import Store
from pytest_mme.cli import app
from pytest_mme.doctor import examine
from pytest_mme.errors import ArchiveError
from pytest_mme.models.builder import Model

pytestmark = pytest.mark.slow

VARIABLES = {"VarHandleOp", "VariableV2", "ReadVariableOp"}


def ops(model: Model) -> set[str]:
    with inspected(model.archive) as archive:
        return {op for saved in archive.versions.values() for op in saved.ops}


@pytest.mark.parametrize("kind", ["keras", "linear", "text"])
def test_an_optimised_model_predicts_the_same(mme_models: Models, mme_server: Callable[..., Server], kind: str) -> None:
    asked: Any = "text" if kind == "text" else [1.5]
    model = getattr(mme_models, kind)()
    optimised = mme_models.optimised(model)
    assert optimised.name == f"{model.name}-optimised"
    server = mme_server()
    server.load(optimised)
    assert server.invoke(optimised, asked) == model.answer(asked) == optimised.answer(asked)


def test_variables_become_constants(mme_models: Models) -> None:
    model = mme_models.keras()
    optimised = mme_models.optimised(model, "frozen")
    assert optimised.name == "frozen"
    assert ops(model) & VARIABLES
    assert not ops(optimised) & VARIABLES
    assert [finding.code for finding in examine(optimised.archive, [registry().nearest_installed()])] == []


def test_versions_signatures_and_code_are_kept(mme_models: Models, tmp_path: Path) -> None:
    model = mme_models.linear(versions=(1, 3), signatures=("serving_default", "other"), handler="# theirs")
    extract(mme_models.optimised(model).archive, tmp_path / "model")
    assert (tmp_path / "model" / "code" / "inference.py").read_text() == "# theirs"
    with inspected(tmp_path / "model") as archive:
        assert {number: set(saved.signatures) for number, saved in archive.versions.items()} == {
            1: {"serving_default", "other"},
            3: {"serving_default", "other"},
        }


def test_an_optimised_model_is_cached_by_its_inputs_and_tolerance(tmp_path: Path) -> None:
    with Models(Store(tmp_path)) as models:
        first = models.optimised(models.linear())
    with Models(Store(tmp_path)) as again:
        assert again.optimised(again.linear()) == first
        assert "_tensorflow" not in vars(again)
        other = again.optimised(again.linear(), tolerance=1e-3, inputs={"x": [[2.0]]})
        assert other.archive != first.archive


@pytest.mark.parametrize("name", ["lstm_exported", "rewritten", "compiled", "unread_asset"])
def test_models_that_tensorflow_exported_predict_the_same(
    mme_models: Models, mme_server: Callable[..., Server], exported: Path, name: str
) -> None:
    asked, version = json.loads((exported / name / "asked.json").read_text()), (exported / "version").read_text()
    model = mme_models.archive(exported / name / "model")
    optimised = mme_models.optimised(model, saved_by=version)
    server = mme_server(tf=version)
    server.load(optimised)
    assert server.invoke(optimised, asked["instance"]) == pytest.approx(asked["answer"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lookup", "it has lookup tables, which are filled when it is loaded: HashTableV2"),
        ("tables_of_tensorflow_1", "it has lookup tables"),
        ("read_asset", "it reads files: ReadFile"),
        ("dice", "its prediction differs: y of serving_default by up to 0."),
        ("numbers", "does not accept random inputs: StringToNumberOp could not correctly convert string: a text"),
    ],
)
def test_a_model_that_cannot_be_optimised_is_refused_with_the_reason(
    mme_models: Models, exported: Path, name: str, why: str
) -> None:
    model = mme_models.archive(exported / name / "model")
    with pytest.raises(ArchiveError) as refused:
        mme_models.optimised(model, saved_by=(exported / "version").read_text())
    assert why in refused.value.seen


def test_a_model_that_writes_its_variables_is_refused(mme_models: Models) -> None:
    with pytest.raises(ArchiveError, match="it writes its variables: AssignVariableOp"):
        mme_models.optimised(mme_models.counter())


@pytest.mark.parametrize("numbers", [["1.5", "2.5"], [b"1.5"], [{"b64": "MS41"}], np.array(["1.5"])])
def test_inputs_that_the_model_accepts_are_used_and_others_refused(
    mme_models: Models, exported: Path, numbers: Any
) -> None:
    model = mme_models.archive(exported / "numbers" / "model")
    by = (exported / "version").read_text()
    assert mme_models.optimised(model, inputs={"x": numbers}, saved_by=by).archive.is_file()
    with pytest.raises(ArchiveError, match=r"does not accept the inputs: .* give inputs= that it accepts"):
        mme_models.optimised(model, inputs={"x": ["none"]}, saved_by=by)


def test_inputs_without_a_json_form_are_a_type_error(mme_models: Models) -> None:
    with pytest.raises(TypeError, match="seen object; allowed: arrays, lists"):
        mme_models.optimised(mme_models.linear(), inputs={"x": object()})


# The command


def optimise(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["optimise", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_the_command_shows_the_costs_and_writes_the_archive(mme_models: Models, tmp_path: Path) -> None:
    done = optimise(mme_models.keras().archive, "--output", tmp_path / "optimised.tar.gz")
    assert done.exit_code == 0
    for row in ("archive, MiB", "memory when loaded, MiB", "memory at 4 at once, MiB", "load, ms", "request, ms"):
        assert row in done.output
    assert not ops(mme_models.archive(tmp_path / "optimised.tar.gz")) & VARIABLES


def test_the_command_prints_the_costs_as_json(mme_models: Models, tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text('{"x": [[1.0], [2.0]]}')
    archive, began_s = mme_models.keras().archive, time.monotonic()
    done = optimise(archive, "--json", "--inputs", tmp_path / "inputs.json", "--tf", "installed")
    took_s = time.monotonic() - began_s
    effects = json.loads(done.output)
    assert (
        0 < sum(one[part] for one in (effects["before"], effects["after"]) for part in ("latency_s", "load_s")) < took_s
    )
    for one in (effects["before"], effects["after"]):
        assert one["need"]["loaded_bytes"] > 1 << 20
        assert one["latency_s"] > 0
        assert one["load_s"] > 0
        assert one["refused"] == ""
    assert effects["after"]["archive_bytes"] < effects["before"]["archive_bytes"]


def test_the_command_gives_the_reason_of_a_refusal(mme_models: Models) -> None:
    done = optimise(mme_models.counter().archive)
    assert done.exit_code == 1
    assert "it writes its variables" in done.output


@pytest.mark.parametrize(("written", "message"), [("[1]", "not an object of values"), ("{", "Expecting property name")])
def test_the_command_refuses_a_bad_file_of_inputs(
    mme_models: Models, tmp_path: Path, written: str, message: str
) -> None:
    (tmp_path / "inputs.json").write_text(written)
    done = optimise(mme_models.linear().archive, "--inputs", tmp_path / "inputs.json")
    assert done.exit_code == 2
    assert message in done.output
