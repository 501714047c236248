"""Invalid inputs, refused with a message that says what is wrong and what is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Graph, Tensor


def adding() -> Graph:
    """``y`` is ``a`` + ``b``."""
    graph = Graph()
    graph.placeholder("a")
    graph.placeholder("b")
    graph.node("AddV2", "y", "a", "b", T="DT_FLOAT")
    graph.sign({"a": Tensor("a:0"), "b": Tensor("b:0")}, {"y": Tensor("y:0")})
    return graph


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.ones(2), "float64"),
        (np.ones(2, np.int32), "int32"),
        (np.ones(2, np.float16), "float16"),
        (np.array([1.0, 2.0], object), "object"),
        (np.array(["1.0"]), "str"),
        ([1.0, 2.0], "float64"),
    ],
    ids=["float64", "int32", "half", "object", "text", "list"],
)
def test_an_array_of_another_dtype_is_refused(load: Load, array: Any, got: str) -> None:
    with pytest.raises(TypeError, match=rf"input 'x' of signature 'serving_default': it takes float32, got {got}"):
        load(graphs.identity()).run({"x": array})


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.array([1, 2]), "dtype object, S or U.*int64"),
        (np.array([]), "dtype object, S or U.*float64"),
        (np.array([b"fine", 5], object), "bytes or str.*int: 5"),
        (np.array([None], object), "bytes or str.*NoneType"),
    ],
    ids=["numbers", "empty", "a number among strings", "None"],
)
def test_elements_that_are_not_strings_are_refused(load: Load, array: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"input 'x' of signature 'serving_default': .*{got}"):
        load(graphs.identity("DT_STRING")).run({"x": array})


def test_text_without_utf_8_is_refused(load: Load) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        load(graphs.identity("DT_STRING")).run({"x": np.array(["\ud800"])})


def test_after_a_refusal_the_model_still_works(load: Load) -> None:
    model = load(adding())
    ones = np.ones(2, np.float32)
    with pytest.raises(TypeError, match="input 'b'"):
        model.run({"a": ones, "b": np.ones(2)})
    assert model.run({"a": ones, "b": ones})["y"].tolist() == [2, 2]


def test_tensorflow_refuses_a_missing_input(load: Load) -> None:
    with pytest.raises(TensorFlowError, match="You must feed a value for placeholder tensor 'b'") as caught:
        load(adding()).run({"a": np.ones(2, np.float32)})
    assert caught.value.code == "INVALID_ARGUMENT"


def test_inputs_are_matched_by_name_in_any_order(load: Load) -> None:
    graph = adding()
    graph.node("Sub", "difference", "a", "b", T="DT_FLOAT")
    graph.sign({"a": Tensor("a:0"), "b": Tensor("b:0")}, {"y": Tensor("difference:0")}, name="difference")
    model = load(graph)
    five, two = np.array([5], np.float32), np.array([2], np.float32)
    for inputs in ({"a": five, "b": two}, {"b": two, "a": five}):
        assert model.run(inputs, signature="difference")["y"].tolist() == [3]


def test_an_optional_input_may_be_left_out(load: Load) -> None:
    graph = Graph()
    graph.placeholder("a")
    graph.const("five", protos.TensorProto(dtype=1, tensor_shape=graphs.shape_proto(()), float_val=[5]))
    graph.node("PlaceholderWithDefault", "b", "five", dtype="DT_FLOAT", shape=graphs.shape_proto(None))
    graph.node("AddV2", "y", "a", "b", T="DT_FLOAT")
    graph.sign({"b": Tensor("b:0"), "a": Tensor("a:0")}, {"y": Tensor("y:0")})
    model = load(graph)
    assert model.run({"a": np.array([1], np.float32)})["y"].tolist() == [6]
    assert model.run({"a": np.array([1], np.float32), "b": np.array([2], np.float32)})["y"].tolist() == [3]


def test_the_error_for_an_unknown_input_lists_the_known_ones(load: Load) -> None:
    with pytest.raises(KeyError, match="no input 'c' in signature 'serving_default'; it has 'a', 'b'"):
        load(adding()).run({"a": np.ones(1, np.float32), "c": np.ones(1, np.float32)})


def test_the_error_for_an_unknown_signature_lists_the_known_ones(load: Load) -> None:
    model = load(graphs.keeping())
    with pytest.raises(KeyError, match="no signature 'serving_default'; the model has 'keep', 'kept'"):
        model.run({})


def test_the_error_of_a_model_without_signatures_says_so(load: Load) -> None:
    graph = Graph()
    graph.placeholder("x")
    with pytest.raises(KeyError, match="the model has none"):
        load(graph).run({})


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_a_timeout_below_1_is_refused(load: Load, timeout_ms: int) -> None:
    with pytest.raises(ValueError, match=f"timeout_ms is {timeout_ms}; TensorFlow takes 1 or more"):
        load(graphs.identity()).run({"x": np.ones(1, np.float32)}, timeout_ms=timeout_ms)
