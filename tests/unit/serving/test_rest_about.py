"""The replies about a model: the state of its versions, and its signatures."""

from __future__ import annotations

import json
from typing import Any

from pytest_mme.serving import rest
from tests.foreign.models import ForeignModels
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Tensor

DEFAULT = {
    "inputs": {
        "x": {
            "name": "x:0",
            "dtype": "DT_INT64",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False},
        }
    },
    "outputs": {"y": {"name": "y:0", "dtype": "DT_INT64", "tensor_shape": {"dim": [], "unknown_rank": True}}},
    "method_name": "tensorflow/serving/predict",
    "defaults": {},
}


def test_status_lists_all_versions_the_highest_first() -> None:
    assert rest.status([1]) == (
        b'{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n   "status": {\n'
        b'    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    versions = json.loads(rest.status([2, 10, 1]))["model_version_status"]
    assert [version["version"] for version in versions] == ["10", "2", "1"]


def test_metadata_contains_every_signature_in_full(load: Load) -> None:
    graph = graphs.identity("DT_INT64", (None, 3))
    graph.sign({}, {"y": Tensor("y:0", "DT_INT64", None)})
    graph.sign({}, {}, name="empty")
    found = json.loads(rest.metadata(load(graph), name="m", version=7))
    assert found == {
        "model_spec": {"name": "m", "signature_name": "", "version": "7"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": DEFAULT,
                    "empty": {
                        **{key: {} for key in ("inputs", "outputs", "defaults")},
                        "method_name": DEFAULT["method_name"],
                    },
                }
            }
        },
    }


def test_metadata_of_a_model_from_a_newer_tensorflow_is_printed(load: Load) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0").info()}, {"y": Tensor("y:0")}, name="odd")
    graph.meta_graph.signature_def["odd"].inputs["x"].dtype = 99
    found = json.loads(rest.metadata(load(graph), name="m", version=1))
    assert found["metadata"]["signature_def"]["signature_def"]["odd"]["inputs"]["x"]["dtype"] == 99


def test_metadata_of_a_model_of_tensorflow_1(foreign: ForeignModels, load: Load) -> None:
    body = rest.metadata(load(foreign("counter") / "1"), name="counter", version=123)
    signatures: dict[str, Any] = json.loads(body)["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"get_counter", "incr_counter", "incr_counter_by", "reset_counter"}
    assert signatures["get_counter"]["outputs"]["output"] == {
        "dtype": "DT_FLOAT_REF",
        "tensor_shape": {"dim": [], "unknown_rank": False},
        "name": "counter:0",
    }
