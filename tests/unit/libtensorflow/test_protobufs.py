"""The message classes work with every protobuf that some TensorFlow comes with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.unit.libtensorflow import graphs

OURS = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from google.protobuf import __version__, text_format
from pytest_mme.libtensorflow import protos
from pytest_mme.serving import rest

serialised = Path(sys.argv[1]).read_bytes()
model = protos.SavedModel.FromString(serialised)
graph = model.meta_graphs[0].graph_def
try:
    protos.SavedModel.FromString(b"\\xff")
except protos.DecodeError:
    signature = SimpleNamespace(definition=model.meta_graphs[0].signature_def["serving_default"])
    loaded = SimpleNamespace(signatures={"serving_default": signature})
    print(json.dumps({
        "again": model.SerializeToString(deterministic=True).hex(),
        "from text": text_format.Parse(text_format.MessageToString(model), protos.SavedModel()) == model,
        "metadata": json.loads(rest.metadata(loaded, name="m", version=1)),
        "ops": [node.op for node in graph.node],
        "which": [graph.node[0].attr["dtype"].WhichOneof("value"), graph.HasField("library")],
        "type": protos.data_type_name(1),
    }))
print(__version__)
"""


def read_by(saved_model: Path, path: str) -> tuple[object, str]:
    """What the message classes make of it, and the version of protobuf that they are made with."""
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(saved_model)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read, version = done.stdout.splitlines()
    return json.loads(read), version


@pytest.mark.parametrize("version", ["3.20.3", "4.21.12", "4.25.8", "5.29.5", "6.33.0"])
def test_a_saved_model_is_read_alike(version: str, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(tmp_path / "site")]
    done = subprocess.run([*install, f"protobuf=={version}"], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"protobuf {version} cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    saved_model = graphs.identity().write(tmp_path) / "saved_model.pb"
    read, used = read_by(saved_model, str(tmp_path / "site"))
    assert used == version
    assert read == read_by(saved_model, "")[0]
