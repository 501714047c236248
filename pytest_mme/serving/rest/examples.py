"""The methods ``classify`` and ``regress``: `tensorflow.Example` messages in, labels and scores or numbers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pytest_mme.libtensorflow.saved_model import SavedModel, Signature
from pytest_mme.libtensorflow.tensors import Array
from pytest_mme.serving.rest import features, output_json
from pytest_mme.serving.rest.json_body import parse
from pytest_mme.serving.rest.messages import refuse, shape_text, text, type_name
from pytest_mme.serving.rest.signatures import requested_name

_FLOAT = np.dtype(np.float32)
_ENUMS = {"object": "DT_STRING", "float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


def classify(model: SavedModel, body: bytes) -> bytes:
    """Reply to ``{"examples": […]}`` with ``{"results": [[[label, score], …], …]}``, a list for each example.

    The signature has one input ``inputs`` and the outputs ``classes``, ``scores`` or both. TensorFlow Serving does not
    look at its method name, unless it is started with ``--enable_signature_method_name_check``.
    """
    signature, examples = _request(model, body, _check_classifier)
    outputs = _run(model, signature, examples)
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if classes is not None:
        _check_table("classes", classes, np.dtype(object), len(examples))
    if scores is not None:
        _check_table("scores", scores, _FLOAT, len(examples))
    return output_json.dump({"results": _classifications(classes, scores)})


def regress(model: SavedModel, body: bytes) -> bytes:
    """Reply to ``{"examples": […]}`` with ``{"results": […]}``, a number for each example.

    The signature has one input ``inputs`` and one output ``outputs``; for its method name see `classify`.
    """
    signature, examples = _request(model, body, _check_regressor)
    output = _run(model, signature, examples)["outputs"]
    if output.ndim not in {1, 2} or output.shape[1:] not in {(), (1,)}:
        raise refuse(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{shape_text(output.shape)}"
        )
    if len(output) != len(examples):
        raise refuse(f"Input batch size did not match output batch size: {len(examples)} vs. {len(output)}")
    if output.dtype != _FLOAT:
        raise refuse(f"Expected output Tensor of DT_FLOAT.  Got: {_enum(output.dtype)}")
    return output_json.dump({"results": output_json.value("outputs", output.ravel())})


def _request(model: SavedModel, body: bytes, check: Callable[[Signature], None]) -> tuple[Signature, list[bytes]]:
    request = parse(body)
    name = requested_name(request) or "serving_default"
    examples = _examples(request)
    signature = model.signatures.get(name)
    if signature is None:
        raise refuse(f"No signature was found with the name: {name}")
    check(signature)
    return signature, examples


def _examples(request: Mapping[str, Any]) -> list[bytes]:
    """Serialise the examples, each behind the context: when both have a feature, the example's counts."""
    context = features.example(request["context"]) if "context" in request else b""
    given = request.get("examples")
    if "examples" not in request:
        wrong = "When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(given, list):
        wrong = "Expecting 'examples' value to be an list/array"
    elif not given:
        wrong = "'examples' value is an empty array"
    else:
        return [context + features.example(example) for example in given]
    raise refuse(f"JSON Value: {text(request)} {wrong}")


def _check_classifier(signature: Signature) -> None:
    if len(signature.inputs) != 1:
        raise refuse("Expected one input Tensor.")
    if len(signature.outputs) not in {1, 2}:
        raise refuse(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise refuse(f"No classification inputs found in SignatureDef: {signature.definition}")
    if not {"classes", "scores"} & set(signature.outputs):
        raise refuse(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.definition}"
        )


def _check_regressor(signature: Signature) -> None:
    if len(signature.inputs) != 1:
        raise refuse("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise refuse("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise refuse(f"No regression inputs found in SignatureDef: {signature.definition}")
    if "outputs" not in signature.outputs:
        raise refuse(f"No regression outputs found in SignatureDef: {signature.definition}")


def _run(model: SavedModel, signature: Signature, examples: list[bytes]) -> dict[str, Array]:
    serialised = np.empty(len(examples), object)
    serialised[:] = examples
    try:
        return model.run({"inputs": serialised}, signature=signature.name)
    except TypeError as error:  # DirectSession's message
        fed = type_name(signature.inputs["inputs"].data_type)
        raise refuse(f"Expects arg[0] to be {fed} but string is provided") from error


def _check_table(name: str, array: Array, dtype: np.dtype[Any], count: int) -> None:
    if array.ndim != 2:
        raise refuse(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(array.shape)}")
    if array.dtype != dtype:
        raise refuse(f"Expected {name} Tensor of {_enum(dtype)}. Got: {_enum(array.dtype)}")
    if len(array) != count:
        raise refuse(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _classifications(classes: Array | None, scores: Array | None) -> list[list[tuple[Any, Any]]]:
    """Pair labels and scores: without labels they are empty, without scores 0."""
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise refuse(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    shape = (classes if classes is not None else scores).shape  # type: ignore[union-attr]
    labels = output_json.value("classes", classes) if classes is not None else np.full(shape, "").tolist()
    numbers = scores if scores is not None else np.zeros(shape, _FLOAT)
    return [
        list(zip(row, output_json.elements("scores", of_row), strict=True))
        for row, of_row in zip(labels, numbers, strict=True)
    ]


def _enum(dtype: np.dtype[Any]) -> str:
    return _ENUMS.get(dtype.name) or f"DT_{dtype.name.upper()}"
