"""What ``predict`` refuses, in TensorFlow Serving's own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving import rest
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Tensor
from tests.unit.serving.test_rest import echo


def refusal(model: SavedModel, body: bytes | Mapping[str, Any]) -> str:
    """The words, if the code is INVALID_ARGUMENT; else the code and the words."""
    with pytest.raises(TensorFlowError) as caught:
        rest.predict(model, body if isinstance(body, bytes) else json.dumps(body).encode())
    return str(caught.value).removeprefix("INVALID_ARGUMENT: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"nope", "Invalid value. at offset: 0"),
        (b'{"instances": [1.0, x]}', "Invalid value. at offset: 20"),
        (b'{"\xc3\xa9": x}', "Invalid value. at offset: 7"),
        (b'{"a": [1,]}', "Invalid value. at offset: 9"),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": [{"b": 1}, 2', "Missing a comma or ] after an array element. at offset: 18"),
        (b'{"a": ["[{"], "b": 1 2}', "Missing a comma or } after an object member. at offset: 21"),
        (b'{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        (b'{"a": "\x01"}', "Invalid encoding in string. at offset: 7"),
        (b'{"a": "\\q"}', "Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 8"),
        (b"{} 1", "The document root must not be followed by other values. at offset: 3"),
        (b'{"a": 1e400}', "Number too big to be stored in double. at offset: 6"),
        (b'{"inputs": "\\ud800"}', "The surrogate pair in string is invalid."),
    ],
)
def test_invalid_json_is_refused_with_rapidjsons_message(load: Load, body: bytes, words: str) -> None:
    assert refusal(load(echo(x="DT_STRING")), body) == f"JSON Parse error: {words}"


@pytest.mark.parametrize("opening", [b'{"instances": ' + b"[" * 100_000, b'{"instances": ' * 100_000])
def test_deeply_nested_json_is_refused(load: Load, opening: bytes) -> None:
    assert refusal(load(echo(x="DT_FLOAT")), opening) == "JSON Parse error: the values are nested too deeply"


@pytest.mark.parametrize("depth", [70, 300, 900])
def test_more_dimensions_than_a_tensor_has_are_refused(load: Load, depth: int) -> None:
    model, nest = load(echo(x="DT_FLOAT")), b"[" * depth + b"1" + b"]" * depth
    assert refusal(model, b'{"inputs": %b}' % nest) == "tensor parsing error: x"
    assert refusal(model, b'{"instances": %b}' % nest) == "tensor parsing error: x"
    assert refusal(model, b'{"instances": %b, "inputs": 1}' % nest).startswith("JSON Value: ")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ([1, 2.5], "JSON Value: [\n    1,\n    2.5\n] Is not object"),
        (1, "JSON Value: 1 Is not object"),
        (
            {"instances": [], "inputs": {}},
            (
                'JSON Value: {\n    "instances": [],\n    "inputs": {}\n} Not formatted correctly expecting only one of '
                "'inputs' or 'instances' keys to exist "
            ),
        ),
        ({"instances": 1}, "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array"),
        ({"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            {"signature_name": 5, "instances": ["é"]},
            (
                'JSON Value: {\n    "signature_name": 5,\n    "instances": [\n        "é"\n    ]\n} not formatted correctly. '
                "'signature_name' key must be a string value."
            ),
        ),
        ({"signature_name": "nope"}, 'Serving signature name: "nope" not found in signature def'),
        ({"signature_name": "none"}, "Failed to get input map for signature: none"),
    ],
)
def test_requests_of_another_form_are_refused(load: Load, request_: Any, words: str) -> None:
    graph = echo(x="DT_FLOAT")
    graph.sign({}, {"y": Tensor("of_x:0")}, name="none")
    assert refusal(load(graph), request_) == words


def test_a_default_signature_that_is_absent_or_has_no_inputs_is_refused(load: Load) -> None:
    graph = echo(x="DT_FLOAT")
    graph.sign({}, {"y": Tensor("of_x:0")}, name="serving_default")
    del graph.meta_graph.signature_def["serving_default"].inputs["x"]
    assert refusal(load(graph), {"inputs": 1}) == "Failed to get input map for signature: DEFAULT"
    del graph.meta_graph.signature_def["serving_default"]
    words = 'Serving signature name: "serving_default" not found in signature def'
    assert refusal(load(graph), {"inputs": 1}) == words


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (["a"], '0 of {}. Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float'),
        ([1, [1]], "1 of {}. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]"),
        ([[1, 2], [1]], "1 of {}. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1"),
        ([[1, 2], [[1], [2]]], "1 of {}. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]"),
        (
            [[[1, 2], [3]]],
            "0 of {}. Error: INVALID_ARGUMENT: Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        ([[1, [2]]], "0 of {}. Error: INVALID_ARGUMENT: Encountered list at unexpected level: 1 expected < 1"),
        (
            [[[1], 2.5]],
            (
                "0 of {}. Error: INVALID_ARGUMENT: JSON Value: 2.5 found at incorrect level: 2 in the JSON DOM. "
                "Expected at level: 2"
            ),
        ),
        (
            [{"x": 1}, {"x": "a"}],
            ('1 key: x of {}. Error: INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float'),
        ),
        ([{"z": 1}], "0 key: z of {}. Error: INVALID_ARGUMENT: JSON object: does not have named input: z"),
        ([{"x": 1}, {}], "1 of {}. JSON object: {{}} keys must be equal to: x"),
    ],
)
def test_rows_that_do_not_fit_are_refused(load: Load, instances: Any, words: str) -> None:
    message = refusal(load(echo(x="DT_FLOAT")), {"instances": instances})
    assert message == "Failed to process element: " + words.format("'instances' list")


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([{"x": 1}, 2], "Expecting object but got list at item 1 of input list"),
        ([1, {"x": 2}], "Expecting value/list but got object at item 1 of input list"),
    ],
)
def test_rows_that_mix_objects_and_bare_values_are_refused(load: Load, instances: Any, words: str) -> None:
    assert refusal(load(echo(x="DT_FLOAT")), {"instances": instances}) == words


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"instances": [1]},
            (
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            ),
        ),
        (
            {"inputs": [1]},
            (
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            ),
        ),
        ({"inputs": {"s": "a"}}, "Missing named input: x in 'inputs' object."),
        (
            {"instances": [{"s": "a"}]},
            (
                'Failed to process element: 0 of \'instances\' list. JSON object: {\n    "s": "a"\n} '
                "keys must be equal to: s,x"
            ),
        ),
        (
            {"instances": [{"b64": "YQ=="}]},
            (
                "input size does not match signature: 1!=2 len({s}) != len({s,x}). Sent extra: {}. "
                "Missing but required: {x}."
            ),
        ),
    ],
)
def test_requests_with_missing_inputs_are_refused(load: Load, request_: Any, words: str) -> None:
    assert refusal(load(echo(x="DT_FLOAT", s="DT_STRING")), request_) == words


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("DT_FLOAT", "true", "true Type: True is not of expected type: float"),
        ("DT_FLOAT", "[1, 2.5, false]", "false Type: False is not of expected type: float"),
        ("DT_FLOAT", "[1, null]", "null Type: Null is not of expected type: float"),
        ("DT_DOUBLE", '{"b64": "YQ=="}', '{\n    "b64": "YQ=="\n} Type: Object is not of expected type: double'),
        ("DT_BOOL", "1", "1 Type: Number is not of expected type: bool"),
        ("DT_INT32", "[1, true]", "true Type: True is not of expected type: int32"),
        ("DT_INT32", "1.0", "1.0 Type: Number is not of expected type: int32"),
        ("DT_INT32", "2147483648", "2147483648 Type: Number is not of expected type: int32"),
        ("DT_UINT8", "-2147483649", "-2147483649 Type: Number is not of expected type: uint8"),
        ("DT_INT64", "9223372036854775808", "9223372036854775808 Type: Number is not of expected type: int64"),
        ("DT_UINT32", "-1", "-1 Type: Number is not of expected type: uint32"),
        ("DT_UINT64", "-1", "-1 Type: Number is not of expected type: uint64"),
        ("DT_UINT64", "18446744073709551616", "1.84467441e+19 Type: Number is not of expected type: uint64"),
        ("DT_INT32", "0.1", "0.1 Type: Number is not of expected type: int32"),
        ("DT_INT32", "0.123456789", "0.123456791 Type: Number is not of expected type: int32"),
        ("DT_INT32", "1e39", "1e+39 Type: Number is not of expected type: int32"),
        ("DT_INT32", "NaN", "NaN Type: Number is not of expected type: int32"),
        ("DT_INT32", "-Infinity", "-Infinity Type: Number is not of expected type: int32"),
        ("DT_STRING", "1", "1 Type: Number is not of expected type: string"),
        ("DT_STRING", '["a", null]', "null Type: Null is not of expected type: string"),
        (
            "DT_STRING",
            '{"b64": 1, "x": NaN}',
            '{\n    "b64": 1,\n    "x": NaN\n} not formatted correctly for base64 data',
        ),
    ],
)
def test_values_of_another_type_are_refused(load: Load, dtype: str, value: str, words: str) -> None:
    body = b'{"inputs": {"x": %b}}' % value.encode()
    if value.startswith("{"):  # bare: an object that is no base64 would name the inputs
        body = b'{"inputs": {"x": [%b]}}' % value.encode()
    assert refusal(load(echo(x=dtype)), body) == f"JSON Value: {words}"


def test_invalid_base64_is_refused(load: Load) -> None:
    model = load(echo(x="DT_STRING"))
    assert refusal(model, {"inputs": ["a", {"b64": "?"}]}) == "Unable to base64 decode"
    words = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode"
    assert refusal(model, {"instances": ["a", {"b64": "?"}]}) == words


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "resource"])
def test_inputs_that_tensorflow_serving_cannot_read_are_unimplemented(load: Load, dtype: str) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0", f"DT_{dtype.upper()}")}, {"y": Tensor("y:0")})
    words = f"UNIMPLEMENTED: Conversion of JSON Value: 1.5 to type: {dtype}"
    assert refusal(load(graph), {"inputs": 1.5}) == words
    message = refusal(load(graph), {"instances": [1.5]})
    assert message == f"Failed to process element: 0 of 'instances' list. Error: {words}"


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "resource"])
def test_outputs_that_tensorflow_serving_cannot_write_are_refused(load: Load, dtype: str) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0")}, {"y": Tensor("y:0", f"DT_{dtype.upper()}")})
    assert refusal(load(graph), {"inputs": 1}) == f"Failed to write JSON value for tensor type: {dtype}"


def test_a_signature_without_outputs_is_refused(load: Load) -> None:
    graph = graphs.identity()
    graph.sign({"x": Tensor("x:0")}, {}, name="nothing")
    words = "Cannot convert empty tensor map to JSON"
    assert refusal(load(graph), {"inputs": 1, "signature_name": "nothing"}) == words


def test_outputs_that_are_not_a_batch_are_refused(load: Load) -> None:
    graph = echo(x="DT_FLOAT")
    graph.node("Size", "size", "x", T="DT_FLOAT", out_type="DT_INT32")
    graph.node("Shape", "shape", "x", T="DT_FLOAT", out_type="DT_INT32")
    x, of_x = {"x": Tensor("x:0")}, Tensor("of_x:0")
    graph.sign(x, {"y": Tensor("size:0", "DT_INT32")}, name="scalar")
    graph.sign(x, {"x": of_x, "y": Tensor("shape:0", "DT_INT32")}, name="uneven")
    model = load(graph)
    message = refusal(model, {"instances": [[1], [2]], "signature_name": "scalar"})
    assert message == "Tensor name: y has no shape information "
    message = refusal(model, {"instances": [[1], [2], [3]], "signature_name": "uneven"})
    assert message == "Tensor name: y has inconsistent batch size: 2 expecting: 3"


def test_lone_surrogates_in_an_error_become_question_marks(load: Load) -> None:
    message = refusal(load(echo(x="DT_FLOAT")), b'{"inputs": "\xff\\ud800"}')
    assert message == 'JSON Value: "??" Type: String is not of expected type: float'
    message.encode()
