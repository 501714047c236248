"""The doctor is held to models as people save them, by what a server really does with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Models, Server
from pytest_mme.doctor import examine
from pytest_mme.errors import ContractError

Answer = Callable[[str, Path], object]
GOOD = ("tables_of_tensorflow_1", "lstm_exported", "lookup", "unread_asset", "read_asset", "rewritten", "compiled")


def found(model: Path, version: str) -> list[str]:
    return [finding.code for finding in examine(model, [version]) if finding.severity != "info"]


@pytest.fixture
def answer(mme_models: Models, mme_server: Callable[..., Server]) -> Answer:
    """What a server of that version answers; `ContractError` if it does not."""

    def answer(version: str, model: Path) -> object:
        asked = json.loads((model.parent / "asked.json").read_text())
        archive, server = mme_models.archive(model), mme_server(tf=version)
        server.load(archive)
        return server.invoke(archive, asked["instance"])

    return answer


@pytest.mark.parametrize("name", GOOD)
def test_a_model_that_answers_has_no_finding(answer: Answer, exported: Path, name: str) -> None:
    model, version = exported / name / "model", (exported / "version").read_text()
    right = json.loads((model.parent / "asked.json").read_text())["answer"]
    assert answer(version, model) == pytest.approx(right, rel=1e-5)
    assert found(model, version) == []


def test_a_keras_model_that_was_not_saved_by_its_own_export(answer: Answer, exported: Path) -> None:
    """Keras 3 leaves out the variables then, without a word."""
    model, version = exported / "lstm_saved" / "model", (exported / "version").read_text()
    if version == "2.15.1":
        assert answer(version, model)
        assert found(model, version) == []
    else:
        with pytest.raises(ContractError, match="Could not find variable"):
            answer(version, model)
        assert found(model, version) == ["MME208"]


def test_keras_3_stores_weights_twice(exported: Path) -> None:
    version = (exported / "version").read_text()
    twice = [finding for finding in examine(exported / "wide" / "model", [version]) if finding.code == "MME209"]
    assert [finding.fact.partition(",")[0] for finding in twice] == ([] if version == "2.15.1" else ["1.0 MiB"])


def test_a_table_that_nothing_fills(answer: Answer, exported: Path) -> None:
    model, version = exported / "tables_that_nothing_fills" / "model", (exported / "version").read_text()
    with pytest.raises(ContractError, match="not initialized"):
        answer(version, model)
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
def test_a_model_that_lacks_what_it_needs(
    answer: Answer, exported: Path, tmp_path: Path, name: str, lacks: str, code: str
) -> None:
    place = shutil.copytree(exported / name, tmp_path / name)
    shutil.rmtree(place / "model" / "1" / lacks)
    version = (exported / "version").read_text()
    with pytest.raises(ContractError):
        answer(version, place / "model")
    assert found(place / "model", version) == [code]


@pytest.mark.parametrize(("name", "lacks"), [("unread_asset", "assets"), ("compiled", "variables")])
def test_a_model_that_lacks_what_it_does_not_need(
    answer: Answer, exported: Path, tmp_path: Path, name: str, lacks: str
) -> None:
    place = shutil.copytree(exported / name, tmp_path / name)
    shutil.rmtree(place / "model" / "1" / lacks)
    version = (exported / "version").read_text()
    assert answer(version, place / "model")
    assert found(place / "model", version) == []
