"""Models that the kit did not make, on the embedded server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_mme import Models, Server
from pytest_mme.contract import routes
from tests.foreign.models import ForeignModels

Servers = Callable[..., Server]
PROGRAM = """
import os

def names(folder):
    return [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
"""


@pytest.mark.parametrize(("name", "x", "y"), [("half_plus_two", [3.0], [3.5]), ("half_plus_three", 3.0, 4.5)])
def test_models_of_tensorflow_1(
    mme_server: Servers, mme_models: Models, foreign: ForeignModels, name: str, x: Any, y: Any
) -> None:
    server, model = mme_server(), mme_models.archive(foreign(name))
    server.load(model)
    assert server.invoke(model, x) == y


def test_a_model_that_keeps_state(mme_server: Servers, mme_models: Models, foreign: ForeignModels) -> None:
    server, model = mme_server(), mme_models.archive(foreign("counter"))
    server.load(model)
    for delta, total in ((5.0, 5.0), (2.0, 7.0)):
        body = json.dumps({"signature_name": "incr_counter_by", "inputs": delta}).encode()
        reply = server.client.invoke(server.identifier(model), body, {"Content-Type": "application/json"})
        assert reply.json() == {"outputs": total}


def test_several_versions_in_one_archive(
    mme_server: Servers, mme_models: Models, foreign: ForeignModels, tmp_path: Path
) -> None:
    shutil.copytree(foreign("half_plus_two"), tmp_path / "both")
    shutil.copytree(foreign("half_plus_three") / "1", tmp_path / "both" / "2")
    server, model = mme_server(), mme_models.archive(tmp_path / "both")
    server.load(model)
    for version, x, y in ((1, [3.0], [3.5]), (2, 3.0, 4.5)):
        headers = {"Content-Type": "application/json", routes.CUSTOM_ATTRIBUTES: f"tfs-model-version={version}"}
        reply = server.client.invoke(server.identifier(model), json.dumps({"instances": [x]}).encode(), headers)
        assert reply.json()["predictions"] == [y]


def test_guesslang_classifies_a_program(mme_server: Servers, mme_models: Models, foreign: ForeignModels) -> None:
    server, model = mme_server(), mme_models.archive(foreign("guesslang"))
    server.load(model)
    assert server.invoke(model, PROGRAM, signature="predict")["classes"] == ["py"]
    scored = server.invoke(model, PROGRAM)
    assert max(zip(scored["scores"], scored["classes"], strict=True))[1] == "py"


@pytest.mark.stress  # TensorFlow optimises its graph for eight seconds, at the first request
def test_sleepecg_gives_probabilities(mme_server: Servers, mme_models: Models, foreign: ForeignModels) -> None:
    server, model = mme_server(), mme_models.archive(foreign("sleepecg"))
    server.load(model)
    epochs = server.invoke(model, [[0.0] * 36] * 4)
    assert [sum(epoch) for epoch in epochs] == pytest.approx([1.0] * 4, abs=1e-5)
