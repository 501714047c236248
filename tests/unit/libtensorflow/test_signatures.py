"""Signatures as they are found in real and odd SavedModels: loading them is one thing, running them another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.saved_model import Signature
from pytest_mme.libtensorflow.signatures import read_signatures
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Graph, Tensor

SPARSE = protos.TensorInfo(
    dtype=1,
    tensor_shape=graphs.shape_proto((None, 3)),
    coo_sparse={
        "values_tensor_name": "values:0",
        "indices_tensor_name": "indices:0",
        "dense_shape_tensor_name": "dense_shape:0",
    },
)
COMPOSITE = protos.TensorInfo(composite_tensor={"components": [Tensor("x:0").info()]})


def with_input(info: Any) -> Graph:
    """An identity whose second signature, ``odd``, has *info* as an input more."""
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0"), "odd": info}, {"y": Tensor("y:0")}, name="odd")
    return graph


def test_a_signature_is_read_in_full(load: Load) -> None:
    model = load(graphs.identity("DT_STRING", (None, 2)))
    signature = model.signatures["serving_default"]
    assert isinstance(signature, Signature)
    assert (signature.name, signature.method) == ("serving_default", "tensorflow/serving/predict")
    (found,) = signature.inputs.values()
    assert (found.name, found.shape, found.dtype) == ("x:0", (None, 2), np.dtype(object))
    assert signature.definition == graphs.identity("DT_STRING", (None, 2)).meta_graph.signature_def[signature.name]


def test_a_missing_shape_is_unknown(load: Load) -> None:
    graph = graphs.identity()
    graph.meta_graph.signature_def["serving_default"].inputs["x"].ClearField("tensor_shape")
    assert load(graph).signatures["serving_default"].inputs["x"].shape is None


def test_only_the_signatures_of_a_meta_graph_are_parsed() -> None:
    graph = graphs.identity("DT_INT64", (None, 1000))
    graph.meta_graph.collection_def["b"].bytes_list.value.append(b"x" * 1000)
    serialised = graph.meta_graph.SerializeToString()
    found = read_signatures(memoryview(serialised + b"\xa2\x06\x03odd"))  # field 100, three bytes
    assert found["serving_default"].inputs["x"].shape == (None, 1000)
    assert read_signatures(memoryview(serialised + b"\xa0\x06\x07")) == found  # field 100, a number
    assert read_signatures(memoryview(b"")) == {}


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (SPARSE, "a sparse or composite tensor"),
        (COMPOSITE, "a sparse or composite tensor"),
        (Tensor("x:0", "DT_RESOURCE").info(), "DT_RESOURCE cannot be fed"),
        (Tensor("x:0", "DT_VARIANT").info(), "DT_VARIANT cannot be fed"),
        (Tensor("x:0", "DT_QUINT8").info(), "DT_QUINT8 cannot be fed"),
        (Tensor("x:0", "DT_INVALID").info(), "DT_INVALID cannot be fed"),
        (protos.TensorInfo(name="x:0", dtype=99), "DT_99 cannot be fed"),
    ],
    ids=["sparse", "composite", "resource", "variant", "quantised", "invalid", "unknown"],
)
def test_an_input_that_numpy_cannot_express_is_a_type_error(load: Load, info: Any, words: str) -> None:
    model = load(with_input(info))
    ones = np.ones(1, np.float32)
    with pytest.raises(TypeError, match=f"input 'odd' of signature 'odd': {words}"):
        model.run({"x": ones, "odd": ones}, signature="odd")
    assert model.run({"x": ones})["y"].tolist() == [1]


@pytest.mark.parametrize(("dtype", "op"), [("DT_RESOURCE", "VarHandleOp"), ("DT_VARIANT", "EmptyTensorList")])
def test_an_output_that_numpy_cannot_express_is_a_type_error(load: Load, dtype: str, op: str) -> None:
    graph = graphs.identity()
    if op == "VarHandleOp":
        graph.node(op, "odd", dtype="DT_FLOAT", shape=graphs.shape_proto(()))
    else:
        graph.const("zero", graphs.int64_scalar(0))
        graph.const("shape", graphs.int64_scalar(-1))
        graph.node(op, "odd", "shape", "zero_32", element_dtype="DT_FLOAT", shape_type="DT_INT64")
        graph.node("Cast", "zero_32", "zero", SrcT="DT_INT64", DstT="DT_INT32")
    graph.sign({}, {"odd": Tensor("odd:0", dtype)})
    with pytest.raises(TypeError, match=f"output 'odd' of signature 'serving_default': {dtype} cannot be fed"):
        load(graph).run({})


@pytest.mark.parametrize("tensor", ["gone:0", "y:1", "y:7", ""])
def test_a_tensor_that_the_graph_does_not_have_is_a_key_error(load: Load, tensor: str) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0")}, {"y": Tensor(tensor)}, name="odd")
    model = load(graph)
    with pytest.raises((KeyError, TypeError), match="output 'y' of signature 'odd'"):
        model.run({"x": np.ones(1, np.float32)}, signature="odd")


def test_a_tensor_named_without_an_index_is_the_first(load: Load) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x")}, {"y": Tensor("y")})
    assert load(graph).run({"x": np.array([3], np.float32)})["y"].tolist() == [3]


def test_one_tensor_can_have_two_names(load: Load) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0")}, {"y": Tensor("y:0"), "again": Tensor("y:0")})
    found = load(graph).run({"x": np.array([3], np.float32)})
    assert {name: array.tolist() for name, array in found.items()} == {"again": [3], "y": [3]}


def test_tensorflow_refuses_an_input_that_is_an_output_too(load: Load) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0")}, {"y": Tensor("x:0")})
    with pytest.raises(TensorFlowError, match="x:0 is both fed and fetched") as caught:
        load(graph).run({"x": np.array([3], np.float32)})
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_signature_with_a_wrong_dtype_is_refused_by_tensorflow(load: Load) -> None:
    graph = graphs.identity("DT_FLOAT")
    graph.sign({"x": Tensor("x:0", "DT_INT32")}, {"y": Tensor("y:0")})
    with pytest.raises(TensorFlowError) as caught:
        load(graph).run({"x": np.array([1], np.int32)})
    assert caught.value.code in {"INVALID_ARGUMENT", "INTERNAL"}


def reference() -> Graph:
    """A model of TensorFlow 1: a `VariableV2` made 2.5 by the init op, answered by reference and assignable."""
    graph = Graph()
    graph.node("VariableV2", "v", dtype="DT_FLOAT", shape=graphs.shape_proto(()))
    graph.const("start", protos.TensorProto(dtype=1, tensor_shape=graphs.shape_proto(()), float_val=[2.5]))
    graph.node("Assign", "init", "v", "start", T="DT_FLOAT")
    graph.placeholder("x", "DT_FLOAT", ())
    graph.node("Assign", "assign", "v", "x", T="DT_FLOAT")
    for name, inputs, output in (("read", {}, "v:0"), ("assign", {"x": Tensor("x:0", shape=())}, "assign:0")):
        graph.sign(inputs, {"y": Tensor(output, "DT_FLOAT_REF", ())}, name=name)
    init = Tensor("init:0", "DT_FLOAT_REF")
    graph.sign({}, {"__saved_model_init_op": init}, name="__saved_model_init_op")
    return graph


def test_a_reference_is_returned_as_its_value(load: Load) -> None:
    model = load(reference())
    assert model.signatures["read"].outputs["y"].dtype == np.float32
    assert model.run({}, signature="read")["y"] == np.float32(2.5)
    assert model.run({"x": np.float32(7)}, signature="assign")["y"] == np.float32(7)
    assert model.run({}, signature="read")["y"] == np.float32(7)
