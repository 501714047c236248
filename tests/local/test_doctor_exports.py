"""The doctor finds in real exports exactly what makes a server fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Models, Server
from pytest_mme.doctor import examine
from pytest_mme.errors import ContractError

pytestmark = pytest.mark.slow

Predict = Callable[[str, Path], object]
GOOD = ("tables_of_tensorflow_1", "lstm_exported", "lookup", "unread_asset", "read_asset", "rewritten", "compiled")


def found(model: Path, version: str) -> list[str]:
    return [finding.code for finding in examine(model, [version]) if finding.severity != "info"]


@pytest.fixture
def predict(mme_models: Models, mme_server: Callable[..., Server]) -> Predict:
    """Return what a server of that version predicts; raises `ContractError` if it fails."""

    def predict(version: str, model: Path) -> object:
        asked = json.loads((model.parent / "asked.json").read_text())
        archive, server = mme_models.archive(model), mme_server(tf=version)
        server.load(archive)
        return server.invoke(archive, asked["instance"])

    return predict


@pytest.mark.parametrize("name", GOOD)
def test_a_model_that_predicts_has_no_finding(predict: Predict, exported: Path, name: str) -> None:
    model, version = exported / name / "model", (exported / "version").read_text()
    right = json.loads((model.parent / "asked.json").read_text())["answer"]
    assert predict(version, model) == pytest.approx(right, rel=1e-5)
    assert found(model, version) == []


def test_a_keras_model_saved_without_export_lacks_its_variables(predict: Predict, exported: Path) -> None:
    """Keras 3 then leaves out the variables, without a warning."""
    model, version = exported / "lstm_saved" / "model", (exported / "version").read_text()
    if version == "2.15.1":
        assert predict(version, model)
        assert found(model, version) == []
    else:
        with pytest.raises(ContractError, match="Could not find variable"):
            predict(version, model)
        assert found(model, version) == ["MME208"]


def test_weights_that_keras_3_stores_twice_are_found(exported: Path) -> None:
    version = (exported / "version").read_text()
    twice = [finding for finding in examine(exported / "wide" / "model", [version]) if finding.code == "MME209"]
    assert [finding.fact.partition(",")[0] for finding in twice] == ([] if version == "2.15.1" else ["1.0 MiB"])


def test_a_table_that_nothing_fills_is_found(predict: Predict, exported: Path) -> None:
    model, version = exported / "tables_that_nothing_fills" / "model", (exported / "version").read_text()
    with pytest.raises(ContractError, match="not initialized"):
        predict(version, model)
    assert found(model, version) == ["MME208"]


@pytest.mark.parametrize(
    ("name", "lacks", "code"),
    [
        ("tables_of_tensorflow_1", "assets", "MME205"),
        ("lookup", "assets", "MME205"),
        ("read_asset", "assets", "MME205"),
        ("tables_of_tensorflow_1", "variables", "MME203"),
        ("lstm_exported", "variables", "MME203"),
    ],
)
def test_a_model_that_lacks_what_it_needs_is_an_error(
    predict: Predict, exported: Path, tmp_path: Path, name: str, lacks: str, code: str
) -> None:
    place = shutil.copytree(exported / name, tmp_path / name)
    shutil.rmtree(place / "model" / "1" / lacks)
    version = (exported / "version").read_text()
    with pytest.raises(ContractError):
        predict(version, place / "model")
    assert found(place / "model", version) == [code]


@pytest.mark.parametrize(("name", "lacks"), [("unread_asset", "assets"), ("compiled", "variables")])
def test_a_model_that_lacks_what_it_does_not_need_has_no_finding(
    predict: Predict, exported: Path, tmp_path: Path, name: str, lacks: str
) -> None:
    place = shutil.copytree(exported / name, tmp_path / name)
    shutil.rmtree(place / "model" / "1" / lacks)
    version = (exported / "version").read_text()
    assert predict(version, place / "model")
    assert found(place / "model", version) == []
