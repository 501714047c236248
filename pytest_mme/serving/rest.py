"""TensorFlow Serving's REST bodies to tensors and back.

Source: TensorFlow Serving, "RESTful API", and the answers recorded from it in tests/transcripts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.saved_model import SavedModel, Signature, TensorSpec
from pytest_mme.libtensorflow.tensors import STRING, Array

_TAKEN = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf"}
"""Which kinds of JSON values each kind of input takes, by numpy's letters; V is bfloat16. Empty lists are floats."""


def predict(model: SavedModel, body: bytes) -> bytes:
    """Answer a request in row format, ``{"instances": […]}``, with ``{"predictions": […]}``.

    Raises `TensorFlowError` INVALID_ARGUMENT for a body that does not fit the signature.
    """
    request = _parse(body)
    signature = _signature(model, request)
    instances = request.get("instances")
    if not isinstance(instances, list) or not instances:
        raise _refuse("the body needs a key 'instances' with a list of at least one instance")
    outputs = model.run(_columns(signature, instances), signature=signature.name)
    return _dump({"predictions": _rows(outputs, len(instances))}, outputs)


def _refuse(message: str) -> TensorFlowError:
    return TensorFlowError("INVALID_ARGUMENT", message)


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        request = _parse_with_nan(body)
    if not isinstance(request, dict):
        raise _refuse(f"the body must be a JSON object, not {type(request).__name__}")
    return request


def _parse_with_nan(body: bytes) -> Any:
    """NaN and Infinity are no JSON, but TensorFlow Serving reads and writes them; orjson does neither."""
    try:
        return json.loads(body)
    except ValueError as error:
        raise _refuse(f"JSON Parse error: {error}") from error


def _dump(answer: Any, outputs: Mapping[str, Array]) -> bytes:
    floats = (array for array in outputs.values() if array.dtype.kind == "f")
    if all(np.isfinite(array).all() for array in floats):
        return orjson.dumps(answer)
    return json.dumps(answer).encode()


def _signature(model: SavedModel, request: Mapping[str, Any]) -> Signature:
    name = request.get("signature_name") or "serving_default"
    found = model.signatures.get(name) if isinstance(name, str) else None
    if found is None:
        raise _refuse(f"Serving signature key {name!r} not found; the model has {', '.join(sorted(model.signatures))}")
    return found


def _columns(signature: Signature, instances: Sequence[Any]) -> dict[str, Array]:
    """One array per input from one value per instance: bare values for a single input, objects for named ones."""
    if all(isinstance(instance, dict) and not _is_bytes(instance) for instance in instances):
        rows = instances
    elif len(signature.inputs) == 1:
        (only,) = signature.inputs
        rows = [{only: instance} for instance in instances]
    else:
        raise _refuse(
            f"the model has the inputs {', '.join(signature.inputs)}: give each instance as an object of them"
        )
    for number, row in enumerate(rows):
        if set(row) != set(signature.inputs):
            raise _refuse(
                f"Failed to process element: {number} of 'instances' list. It has the keys "
                f"{', '.join(map(repr, row)) or 'none'}; the inputs are {', '.join(map(repr, signature.inputs))}"
            )
    return {name: _array(name, spec, [row[name] for row in rows]) for name, spec in signature.inputs.items()}


def _array(name: str, spec: TensorSpec, values: list[Any]) -> Array:
    try:
        if spec.data_type == STRING:
            return _string_array(values)
        seen = _dtype(values)
        if seen.kind in _TAKEN.get(spec.dtype.kind, ""):
            return np.array(values, spec.dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refuse(f"input {name!r} takes {spec.dtype} of shape {spec.shape}: {error}") from error
    raise _refuse(f"input {name!r} takes {spec.dtype} of shape {spec.shape}, not {seen}")


def _dtype(values: list[Any]) -> np.dtype[Any]:
    """What numpy takes the values for, but that it makes floats of whole numbers too large for int64."""
    seen: np.dtype[Any] = np.array(values).dtype
    if seen.kind in "fO" and all(type(leaf) is int for leaf in _leaves(values)):
        return np.dtype(np.uint64)
    return seen


def _string_array(values: Any) -> Array:
    shape: list[int] = []
    level = values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    leaves = np.empty(math.prod(shape), object)
    leaves[:] = [_bytes(leaf) for leaf in _leaves(values)]
    return leaves.reshape(shape)


def _leaves(values: Any) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    return [leaf for value in values for leaf in _leaves(value)]


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {type(value).__name__}")
    return value.encode()


def _rows(outputs: Mapping[str, Array], count: int) -> list[Any]:
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != count:
            raise _refuse(
                f"output {name!r} has shape {array.shape}: the row format needs one row for each of {count} instances"
            )
    columns = {name: _jsonable(array) for name, array in outputs.items()}
    if len(columns) == 1:
        (only,) = columns.values()
        return only
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _jsonable(array: Array) -> list[Any]:
    if array.dtype == object:
        array = np.vectorize(lambda element: element.decode(errors="replace"), otypes=[object])(array)
    elif array.dtype.kind == "V":  # bfloat16 is no number to numpy
        array = array.astype(np.float32)
    listed: list[Any] = array.tolist()
    return listed
