"""The method ``predict``: requests and replies, with TensorFlow itself in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving import rest
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Graph, Tensor

INTEGERS = {
    **{f"DT_INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"DT_UINT{bits}": (0, 2**bits - 1) for bits in (8, 32, 64)},
}


def ask(model: SavedModel, body: bytes | Mapping[str, Any]) -> Any:
    return json.loads(rest.predict(model, body if isinstance(body, bytes) else json.dumps(body).encode()))


def echo(**dtypes: str) -> Graph:
    """A graph that returns each of its inputs, under the same names."""
    graph = Graph()
    for name, dtype in dtypes.items():
        graph.placeholder(name, dtype)
        graph.node("Identity", f"of_{name}", name, T=dtype)
    graph.sign(
        {name: Tensor(f"{name}:0", dtype) for name, dtype in dtypes.items()},
        {name: Tensor(f"of_{name}:0", dtype) for name, dtype in dtypes.items()},
    )
    return graph


@pytest.mark.parametrize("values", [1.5, [1.5, 2.0], [[1.5], [2.0]], [], [[], []], [[[0.5, 1.0]]]])
def test_columns_have_any_shape(load: Load, values: Any) -> None:
    model = load(echo(x="DT_FLOAT"))
    assert ask(model, {"inputs": values}) == {"outputs": values}
    assert ask(model, {"inputs": {"x": values}}) == {"outputs": values}


@pytest.mark.parametrize("rows", [[1.5], [1.5, 2.0], [[1.5, 2.0]], [[], []], [[[0.5], [1.0]], [[2.0], [4.0]]]])
def test_rows_are_a_batch(load: Load, rows: Any) -> None:
    model = load(echo(x="DT_FLOAT"))
    assert ask(model, {"instances": rows}) == {"predictions": rows}
    assert ask(model, {"instances": [{"x": row} for row in rows]}) == {"predictions": rows}


def test_several_inputs_and_outputs_are_json_objects(load: Load) -> None:
    model = load(echo(x="DT_FLOAT", names="DT_STRING", ok="DT_BOOL"))
    rows = [{"x": [1.0, 0.1], "names": "a", "ok": True}, {"names": "b", "ok": False, "x": [2.0, 3.0]}]
    assert ask(model, {"instances": rows}) == {"predictions": rows}
    columns = {"x": 0.1, "names": [["a", "b"]], "ok": [True, False, True]}
    assert ask(model, {"inputs": columns}) == {"outputs": columns}
    assert ask(model, {"inputs": {**columns, "more": 1}}) == {"outputs": columns}


def test_the_requested_signature_is_run(load: Load) -> None:
    graph = echo(x="DT_FLOAT")
    graph.sign({"i": Tensor("x:0")}, {"o": Tensor("of_x:0")}, name="other")
    model = load(graph)
    assert ask(model, {"instances": [{"i": 1.0}], "signature_name": "other"}) == {"predictions": [1.0]}
    assert ask(model, {"instances": [{"x": 1.0}], "signature_name": ""}) == {"predictions": [1.0]}


def test_an_input_may_be_called_b64(load: Load) -> None:
    model = load(echo(b64="DT_STRING"))
    assert ask(model, {"instances": [{"b64": "YQ=="}]}) == {"predictions": ["a"]}
    assert ask(model, {"instances": [{"b64": ["YQ=="]}]}) == {"predictions": [["YQ=="]]}


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_accept_every_value_that_they_can_hold(load: Load, dtype: str) -> None:
    low, high = INTEGERS[dtype]
    assert ask(load(echo(x=dtype)), {"instances": [low, 0, high]}) == {"predictions": [low, 0, high]}


@pytest.mark.parametrize(
    ("dtype", "given", "kept"),
    [("DT_UINT8", [300, -1], [44, 255]), ("DT_INT8", [200], [-56]), ("DT_INT16", [2**16], [0])],
)
def test_small_integers_keep_the_lowest_bits(load: Load, dtype: str, given: list[int], kept: list[int]) -> None:
    assert ask(load(echo(x=dtype)), {"instances": given}) == {"predictions": kept}


@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_DOUBLE"])
def test_floats_accept_every_number(load: Load, dtype: str) -> None:
    numbers = [1, 2.5, -(2**63), 2**64 - 1, 2**80, 0]
    answer = ask(load(echo(x=dtype)), {"instances": numbers})["predictions"]
    assert answer == pytest.approx([float(number) for number in numbers], rel=1e-6)
    assert all(type(number) is float for number in answer)


def test_whole_numbers_beyond_64_bits_are_floats_also_beside_nan(load: Load) -> None:
    body = b'{"inputs": [NaN, 18446744073709551615, 18446744073709551616, -9223372036854775809]}'
    assert ask(load(echo(x="DT_DOUBLE")), body)["outputs"][1:] == [2.0**64, 2.0**64, -(2.0**63)]
    with pytest.raises(TensorFlowError, match=r"1.84467441e.19 Type: Number is not of expected type: uint64"):
        ask(load(echo(x="DT_UINT64")), b'{"inputs": [18446744073709551615, 18446744073709551616, NaN]}')


def test_a_number_too_large_for_a_float_is_infinite(load: Load) -> None:
    body = b'{"instances": [1e300, -1e300]}'
    assert rest.predict(load(echo(x="DT_FLOAT")), body) == b'{"predictions":[Infinity,-Infinity]}'
    assert ask(load(echo(x="DT_DOUBLE")), body) == {"predictions": [1e300, -1e300]}


def test_floats_are_written_with_the_fewest_digits(load: Load) -> None:
    assert rest.predict(load(echo(x="DT_FLOAT")), b'{"instances": [0.1, 3, 0.3333333333]}') == (
        b'{"predictions":[0.1,3.0,0.33333334]}'
    )
    assert rest.predict(load(echo(x="DT_DOUBLE")), b'{"inputs": 0.3333333333}') == b'{"outputs":0.3333333333}'


def test_infinities_do_not_change_the_digits_of_other_numbers(load: Load) -> None:
    model = load(echo(x="DT_FLOAT"))
    body = b'{"instances": [[NaN, 0.1], [-Infinity, 0.3333333333], [Infinity, 2.5]]}'
    assert rest.predict(model, body) == b'{"predictions":[[NaN,0.1],[-Infinity,0.33333334],[Infinity,2.5]]}'
    assert rest.predict(model, b'{"inputs": -NaN}') == b'{"outputs":NaN}'
    assert rest.predict(model, b'{"inputs": [-Inf, Inf]}') == b'{"outputs":[-Infinity,Infinity]}'


def test_infinities_are_written_beside_other_outputs(load: Load) -> None:
    model = load(echo(s="DT_STRING", x="DT_FLOAT", y="DT_DOUBLE"))
    body = b'{"instances": [{"x": NaN, "y": [0.1, 1], "s": "NaN null"}, {"x": 0.1, "y": [Infinity, 2], "s": "Inf"}]}'
    assert rest.predict(model, body) == (
        b'{"predictions":[{"s":"NaN null","x":NaN,"y":[0.1,1.0]},{"s":"Inf","x":0.1,"y":[Infinity,2.0]}]}'
    )
    body = b'{"inputs": {"x": NaN, "y": 0.1, "s": "null"}}'
    assert rest.predict(model, body) == b'{"outputs":{"s":"null","x":NaN,"y":0.1}}'


@pytest.mark.parametrize("strings", [["a", ""], [["é\u0000", '"\\\n'], ["\U0001f600", "b64"]]])
def test_strings_come_back_unchanged(load: Load, strings: Any) -> None:
    assert ask(load(echo(x="DT_STRING")), {"instances": strings}) == {"predictions": strings}


def test_bytes_are_base64_on_the_way_in_and_under_their_name_on_the_way_out(load: Load) -> None:
    model = load(echo(x_bytes="DT_STRING"))
    given = [[{"b64": "/wA="}, "a"], [{"b64": "YQ"}, {"b64": " Y\nQ==\t"}]]
    wrapped = [[{"b64": "/wA="}, {"b64": "YQ=="}], [{"b64": "YQ=="}, {"b64": "YQ=="}]]
    assert ask(model, {"instances": given}) == {"predictions": wrapped}
    assert ask(model, {"inputs": {"b64": "YQ=="}}) == {"outputs": {"b64": "YQ=="}}
    assert ask(load(echo(x="DT_STRING")), {"inputs": {"b64": "YQ=="}}) == {"outputs": "a"}


def test_numbers_are_not_base64_when_the_name_ends_in_bytes(load: Load) -> None:
    assert ask(load(echo(x_bytes="DT_INT32")), {"inputs": 1}) == {"outputs": 1}


def test_strings_that_are_not_utf_8_pass_through(load: Load) -> None:
    model = load(echo(x="DT_STRING"))
    assert rest.predict(model, b'{"inputs": "\xff\xc3\xa9\\""}') == b'{"outputs":"\xff\xc3\xa9\\""}'
    assert rest.predict(model, b'{"inputs": ["b", {"b64": "/w=="}]}') == b'{"outputs":["b","\xff"]}'


def test_a_byte_order_mark_is_skipped(load: Load) -> None:
    assert ask(load(echo(x="DT_FLOAT")), b'\xef\xbb\xbf{"inputs": 1}') == {"outputs": 1.0}


def test_when_a_key_occurs_twice_the_last_value_counts(load: Load) -> None:
    assert ask(load(echo(x="DT_FLOAT")), b'{"inputs": 1, "inputs": 2}') == {"outputs": 2.0}


def test_a_reference_is_returned_as_its_value(load: Load) -> None:
    graph = Graph()
    graph.node("VariableV2", "v", dtype="DT_FLOAT", shape=graphs.shape_proto(()))
    graph.placeholder("x", "DT_FLOAT", ())
    graph.node("Assign", "assign", "v", "x", T="DT_FLOAT")
    graph.sign({"x": Tensor("x:0", shape=())}, {"y": Tensor("assign:0", "DT_FLOAT_REF", ())})
    assert ask(load(graph), {"inputs": 2.5}) == {"outputs": 2.5}


def test_tensorflows_own_refusal_keeps_its_code_and_message(load: Load) -> None:
    graph = Graph()
    graph.placeholder("x", "DT_FLOAT")
    graph.placeholder("z", "DT_FLOAT")
    graph.node("AddV2", "y", "x", "z", T="DT_FLOAT")
    graph.sign({"x": Tensor("x:0"), "z": Tensor("z:0")}, {"y": Tensor("y:0")})
    with pytest.raises(TensorFlowError, match=r"INVALID_ARGUMENT: Incompatible shapes: \[2\] vs\. \[3\]"):
        ask(load(graph), {"inputs": {"x": [1, 2], "z": [1, 2, 3]}})


def calls(model: SavedModel, request: Mapping[str, Any]) -> int:
    """How often Python code was called for an answer."""
    body, count = json.dumps(request).encode(), 0
    rest.predict(model, body)  # the first one works out more

    def count_calls(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(count_calls)
    try:
        rest.predict(model, body)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_INT64", "DT_UINT8", "DT_BOOL"])
def test_no_python_code_runs_for_each_number(load: Load, dtype: str) -> None:
    model = load(echo(x=dtype))
    few, many = (np.ones((size, 10), bool if dtype == "DT_BOOL" else int).tolist() for size in (1, 1000))
    for wrap in ({"instances": few}, {"instances": many}), ({"inputs": {"x": few}}, {"inputs": {"x": many}}):
        assert calls(model, wrap[1]) < calls(model, wrap[0]) + 100  # of 10 000 numbers; Python's own are a few
