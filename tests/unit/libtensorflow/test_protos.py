"""TensorFlow's messages: the checked-in descriptor set, and its pool beside TensorFlow's own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from pytest_mme.libtensorflow import protos
from tests.lacking import ALL
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import ROOT, InProcess

MADE_FROM = "2.21.0"
BESIDE = """
import warnings
warnings.simplefilter("ignore")  # TensorFlow's own
import sys
from pathlib import Path
import numpy as np
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
model = SavedModel(Library(), Path(sys.argv[1]))
assert model.run({"x": np.float32([2])})["y"].tolist() == [2]
import tensorflow as tf
theirs = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=3)
ours = protos.ConfigProto.FromString(theirs.SerializeToString())
assert type(ours) is not type(theirs)
assert ours.intra_op_parallelism_threads == 3
loaded = tf.compat.v2.saved_model.load(sys.argv[1])
assert loaded.signatures["serving_default"](tf.constant([2.0]))["y"].numpy().tolist() == [2]
assert model.run({"x": np.float32([2])})["y"].tolist() == [2]
model.close()
"""


def test_data_types_have_tensorflows_names_and_numbers() -> None:
    assert protos.data_type_number("DT_FLOAT") == 1
    assert protos.data_type_name(1) == "DT_FLOAT"
    assert protos.data_type_name(999) == "DT_999"
    with pytest.raises(KeyError):
        protos.data_type_number("DT_NONSENSE")


def test_a_saved_model_survives_parsing_and_serialising(tmp_path: Path) -> None:
    serialised = (graphs.identity().write(tmp_path) / "saved_model.pb").read_bytes()
    parsed = protos.SavedModel.FromString(serialised)
    assert [node.op for node in parsed.meta_graphs[0].graph_def.node] == ["Placeholder", "Identity"]


def test_our_messages_and_tensorflows_own_live_in_one_process(in_process: InProcess, tmp_path: Path) -> None:
    in_process(BESIDE, graphs.identity().write(tmp_path))


@pytest.mark.skipif(
    not ALL and importlib.metadata.version("tensorflow") != MADE_FROM,
    reason=f"descriptors.binpb is made from {MADE_FROM}",
)
def test_the_descriptor_set_is_what_its_tool_makes(tmp_path: Path) -> None:
    made = tmp_path / "descriptors.binpb"
    subprocess.run([sys.executable, ROOT / "tools" / "make_descriptors.py", made], check=True, capture_output=True)
    assert made.read_bytes() == files("pytest_mme.libtensorflow").joinpath("descriptors.binpb").read_bytes()
