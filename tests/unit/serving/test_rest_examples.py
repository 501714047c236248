"""The methods ``classify`` and ``regress``, with TensorFlow itself behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving import rest
from tests.foreign.models import ForeignModels
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load
from tests.unit.libtensorflow.graphs import Graph, Tensor

INPUTS = {"inputs": Tensor("x:0", "DT_STRING", (None,))}


def ask(method: str, model: SavedModel, body: bytes | Mapping[str, Any]) -> Any:
    """Strings that are not UTF-8 come as `surrogateescape` decodes them."""
    answer = rest.METHODS[method](model, body if isinstance(body, bytes) else json.dumps(body).encode())
    return json.loads(answer.decode(errors="surrogateescape"))["results"]


def refusal(method: str, model: SavedModel, body: bytes | Mapping[str, Any]) -> str:
    with pytest.raises(TensorFlowError) as caught:
        ask(method, model, body)
    return str(caught.value).removeprefix("INVALID_ARGUMENT: ")


def mirror() -> Graph:
    """Gives the serialised examples as labels, one for each, and their lengths as scores and numbers."""
    graph = Graph()
    graph.placeholder("x", "DT_STRING", (None,))
    graph.node("Identity", "y", "x", T="DT_STRING")
    graph.node("StringLength", "length", "x")
    graph.node("Cast", "number", "length", SrcT="DT_INT32", DstT="DT_FLOAT")
    graph.const("one", graphs.int64_scalar(1))
    for name, source, dtype in (("labels", "x", "DT_STRING"), ("scores", "number", "DT_FLOAT")):
        graph.node("ExpandDims", name, source, "one", T=dtype, Tdim="DT_INT64")
    graph.node("Concat", "pairs", "one_32", "labels", "labels", T="DT_STRING", N=2)
    graph.node("Cast", "one_32", "one", SrcT="DT_INT64", DstT="DT_INT32")
    labels, scores = Tensor("labels:0", "DT_STRING"), Tensor("scores:0")
    graph.sign(INPUTS, {"classes": labels, "scores": scores})
    graph.sign(INPUTS, {"classes": labels}, name="labels")
    graph.sign(INPUTS, {"classes": Tensor("pairs:0", "DT_STRING")}, name="pairs")
    graph.sign(INPUTS, {"scores": scores}, name="scores")
    graph.sign(INPUTS, {"outputs": Tensor("number:0")}, name="numbers")
    graph.sign(INPUTS, {"outputs": scores}, name="column")
    return graph


def features(model: SavedModel, body: bytes | Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the examples held that reached the model: the list of each feature by name."""
    found = []
    for ((label, _),) in ask("classify", model, body):
        example = protos.Example.FromString(label.encode(errors="surrogateescape"))
        lists = {name: getattr(of, of.WhichOneof("kind") or "", None) for name, of in example.features.feature.items()}
        found.append({name: values and list(values.value) for name, values in lists.items()})
    return found


def test_the_json_types_of_features_choose_their_lists(load: Load) -> None:
    example = {
        "int": 20,
        "ints": [-(2**63), 2**63 - 1],
        "mixed": [True, 0, False],
        "float": 6.5,
        "floats": [8.0, 0.5],
        "text": "é",
        "texts": ["a", {"b64": "/w=="}],
        "nothing": [],
    }
    (found,) = features(load(mirror()), {"examples": [example]})
    assert found == {
        "int": [20],
        "ints": [-(2**63), 2**63 - 1],
        "mixed": [1, 0, 0],
        "float": [6.5],
        "floats": [8.0, 0.5],
        "text": ["é".encode()],
        "texts": [b"a", b"\xff"],
        "nothing": None,
    }


def test_features_accept_infinite_and_too_large_floats(load: Load) -> None:
    (found,) = features(load(mirror()), b'{"examples": [{"x": [NaN, Infinity, -Infinity, 1e300]}]}')
    assert np.array_equal(found["x"], [np.nan, np.inf, -np.inf, np.inf], equal_nan=True)


def test_the_context_is_part_of_every_example(load: Load) -> None:
    request = {"context": {"query": "pizza", "both": 1}, "examples": [{"name": "a"}, {"both": 2}]}
    assert features(load(mirror()), request) == [
        {"query": [b"pizza"], "both": [1], "name": [b"a"]},
        {"query": [b"pizza"], "both": [2]},
    ]


def test_labels_and_scores_may_be_absent(load: Load) -> None:
    model, examples = load(mirror()), [{}, {"s": "a"}]
    serialised = [
        b"",
        protos.Example(features={"feature": {"s": {"bytes_list": {"value": [b"a"]}}}}).SerializeToString(),
    ]
    labels = [entry.decode() for entry in serialised]
    numbers = [float(len(entry)) for entry in serialised]
    assert ask("classify", model, {"examples": examples}) == [
        [[label, n]] for label, n in zip(labels, numbers, strict=True)
    ]
    request = {"examples": examples, "signature_name": "labels"}
    assert ask("classify", model, request) == [[[label, 0.0]] for label in labels]
    assert ask("classify", model, {**request, "signature_name": "pairs"})[1] == [[labels[1], 0.0]] * 2
    assert ask("classify", model, {**request, "signature_name": "scores"}) == [[["", n]] for n in numbers]


@pytest.mark.parametrize("signature", ["numbers", "column"])
def test_a_regression_is_a_number_for_each_example(load: Load, signature: str) -> None:
    request = {"examples": [{}, {"s": "a"}], "signature_name": signature}
    assert ask("regress", load(mirror()), request) == [0.0, 14.0]


def test_results_that_are_not_finite(load: Load) -> None:
    graph = mirror()
    graph.node("Log", "log", "number", T="DT_FLOAT")
    graph.node("ExpandDims", "logs", "log", "one", T="DT_FLOAT", Tdim="DT_INT64")
    graph.sign(INPUTS, {"outputs": Tensor("log:0")}, name="log")
    graph.sign(INPUTS, {"scores": Tensor("logs:0")}, name="logs")
    model = load(graph)
    assert rest.regress(model, b'{"signature_name": "log", "examples": [{}]}') == b'{"results":[-Infinity]}'
    assert rest.classify(model, b'{"signature_name": "logs", "examples": [{}]}') == b'{"results":[[["",-Infinity]]]}'


def test_half_plus_two_classifies_and_regresses(foreign: ForeignModels, load: Load) -> None:
    model = load(foreign("half_plus_two") / "1")
    examples = [{"x": 1.0}, {"x": [2.0]}, {"x": 5.0}]
    assert ask("regress", model, {"signature_name": "regress_x_to_y", "examples": examples}) == [2.5, 3.0, 4.5]
    shared = {"context": {"x": 1.0}, "examples": [{}, {"x": 2.0}], "signature_name": "regress_x_to_y2"}
    assert ask("regress", model, shared) == [3.5, 4.0]
    answer = ask("classify", model, {"signature_name": "classify_x_to_y", "examples": examples[:2]})
    assert answer == [[["", 2.5]], [["", 3.0]]]
    request = {"signature_name": "regress_x2_to_y3", "examples": examples}
    assert refusal("regress", model, request) == "Expects arg[0] to be float but string is provided"
    message = refusal("regress", model, {"examples": examples})
    assert message.startswith('No regression inputs found in SignatureDef: inputs {\n  key: "x"\n')


def test_a_signature_that_declares_its_strings_as_floats_is_served(foreign: ForeignModels, load: Load) -> None:
    model = load(foreign("half_plus_three") / "1")
    request = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert ask("regress", model, request) == [3.5, 4.0]


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "JSON Value: [] Is not object"),
        (b'{"signature_name": ["a"], "examples": [{}]}', "*'signature_name' key must be a string value."),
        (b'{"context": [], "examples": [{}]}', "Example must be JSON object but got JSON Array"),
        (b'{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        (b"{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        (b'{"examples": {}}', "*} Expecting 'examples' value to be an list/array"),
        (b'{"examples": []}', "*} 'examples' value is an empty array"),
        (b'{"examples": [{"a": [10, null]}]}', "Feature: a has element with unexpected JSON type: Null"),
        (b'{"examples": [{"a": null}]}', "Feature: a has element with unexpected JSON type: Null"),
        (b'{"examples": [{"a": [[10], 20]}]}', "Feature: a has element with unexpected JSON type: Array"),
        (b'{"examples": [{"a": {"b": 1}}]}', "Feature: a has element with unexpected JSON type: Object"),
        (b'{"examples": [{"a": {"b64": "?"}}]}', "Unable to base64 decode"),
        (b'{"examples": [{"a": [10, 10.0]}]}', "Unexpected element type in feature: a expecting type: int64"),
        (b'{"examples": [{"a": [10.0, true]}]}', "Unexpected element type in feature: a expecting type: float"),
        (b'{"examples": [{"a": ["x", 1]}]}', "Unexpected element type in feature: a expecting type: bytes"),
        (b'{"examples": [{"a": 18446744073709551603}]}', "Feature: a has uint64_t element. Only int64_t is supported."),
        (b'{"examples": [{}], "signature_name": "nope"}', "No signature was found with the name: nope"),
    ],
)
def test_invalid_examples_are_refused(load: Load, method: str, body: bytes, words: str) -> None:
    message = refusal(method, load(mirror()), body)
    assert message.endswith(words[1:]) if words.startswith("*") else message == words


STRINGS, FLOATS = Tensor("x:0", "DT_STRING"), Tensor("scores:0")
WRONG_SIGNATURES = [
    ("classify", {}, {"scores": FLOATS}, "Expected one input Tensor."),
    ("classify", INPUTS, {}, "Expected one or two output Tensors, found 0"),
    ("classify", INPUTS, dict.fromkeys("abc", FLOATS), "Expected one or two output Tensors, found 3"),
    ("classify", {"x": STRINGS}, {"scores": FLOATS}, "No classification inputs found in SignatureDef: inputs {"),
    (
        "classify",
        INPUTS,
        {"y": FLOATS},
        (
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: inputs {'
        ),
    ),
    ("regress", {}, {"outputs": FLOATS}, "Expected one input Tensor."),
    ("regress", INPUTS, {"outputs": FLOATS, "more": FLOATS}, "Expected one output Tensor."),
    ("regress", {"x": STRINGS}, {"outputs": FLOATS}, "No regression inputs found in SignatureDef: inputs {"),
    ("regress", INPUTS, {"y": FLOATS}, "No regression outputs found in SignatureDef: inputs {"),
    (
        "classify",
        INPUTS,
        {"classes": Tensor("y:0", "DT_STRING")},
        "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ),
    ("classify", INPUTS, {"classes": FLOATS}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    (
        "classify",
        INPUTS,
        {"scores": Tensor("labels:0", "DT_STRING")},
        ("Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
    ),
    ("classify", INPUTS, {"scores": Tensor("few:0")}, "Expected scores output batch size of 2. Got: 1"),
    (
        "classify",
        INPUTS,
        {"classes": Tensor("pairs:0", "DT_STRING"), "scores": FLOATS},
        "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
    ),
    (
        "regress",
        INPUTS,
        {"outputs": Tensor("one:0", "DT_INT64")},
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
    ),
    (
        "regress",
        INPUTS,
        {"outputs": Tensor("pairs:0", "DT_STRING")},
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
    ),
    ("regress", INPUTS, {"outputs": Tensor("few:0")}, "Input batch size did not match output batch size: 2 vs. 1"),
    (
        "regress",
        INPUTS,
        {"outputs": Tensor("length:0", "DT_INT32")},
        ("Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ),
]


@pytest.mark.parametrize(("method", "inputs", "outputs", "words"), WRONG_SIGNATURES)
def test_signatures_of_another_form_are_refused(load: Load, method: str, inputs: Any, outputs: Any, words: str) -> None:
    graph = mirror()
    few = protos.TensorProto(dtype=1, tensor_shape=graphs.shape_proto((1, 1)), float_val=[1])
    graph.const("few", few)
    graph.sign(inputs, outputs, name="wrong")
    message = refusal(method, load(graph), {"examples": [{}, {}], "signature_name": "wrong"})
    assert message.startswith(words)


def test_the_method_name_of_a_signature_is_ignored(load: Load) -> None:
    graph = mirror()
    for signature in graph.meta_graph.signature_def.values():
        signature.method_name = "odd"
    model = load(graph)
    assert ask("regress", model, {"examples": [{}], "signature_name": "numbers"}) == [0.0]
    assert ask("classify", model, {"examples": [{}], "signature_name": "scores"}) == [[["", 0.0]]]
    assert ask_predict(model) == {"predictions": [1.0]}


def ask_predict(model: SavedModel) -> Any:
    return json.loads(rest.METHODS["predict"](model, b'{"instances": ["a"], "signature_name": "numbers"}'))
