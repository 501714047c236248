"""The method ``predict``: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.saved_model import SavedModel, Signature
from pytest_mme.libtensorflow.tensors import Array
from pytest_mme.serving.rest import input_arrays, output_json
from pytest_mme.serving.rest.json_body import parse
from pytest_mme.serving.rest.messages import refuse, shape_text, text
from pytest_mme.serving.rest.signatures import check_outputs, requested_name


def predict(model: SavedModel, body: bytes) -> bytes:
    """Reply to rows, ``{"instances": […]}``, with ``{"predictions": […]}``; to columns, ``inputs``, with ``outputs``.

    Raises `TensorFlowError` with TensorFlow Serving's code and message.
    """
    request = parse(body)
    signature = _signature(model, request)
    if "instances" in request:
        inputs = _rows(signature, _instances(request))
        return output_json.dump({"predictions": output_json.by_rows(_run(model, signature, inputs))})
    if "inputs" in request:
        inputs = _columns(signature, request["inputs"])
        return output_json.dump({"outputs": output_json.by_columns(_run(model, signature, inputs))})
    raise refuse("Missing 'inputs' or 'instances' key")


def _signature(model: SavedModel, request: Mapping[str, Any]) -> Signature:
    asked = requested_name(request)
    name = asked or "serving_default"
    signature = model.signatures.get(name)
    if signature is None:
        raise refuse(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise refuse(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
    return signature


def _run(model: SavedModel, signature: Signature, inputs: Mapping[str, Array]) -> dict[str, Array]:
    if len(inputs) != len(signature.inputs):
        sent, known = set(inputs), set(signature.inputs)
        listed = [",".join(sorted(names)) for names in (sent, known, sent - known, known - sent)]
        raise refuse(
            f"input size does not match signature: {len(sent)}!={len(known)} len({{{listed[0]}}}) != "
            f"len({{{listed[1]}}}). Sent extra: {{{listed[2]}}}. Missing but required: {{{listed[3]}}}."
        )
    check_outputs(signature)
    try:
        return model.run(inputs, signature=signature.name)
    except (
        KeyError,
        TypeError,
    ) as error:  # the signature names a tensor that the graph does not have or numpy cannot express
        raise refuse(str(error.args[0])) from error


def _instances(request: Mapping[str, Any]) -> list[Any]:
    instances = request["instances"]
    if "inputs" in request:
        wrong = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        wrong = "Expecting 'instances' to be an list/array"
    elif not instances:
        wrong = "No values in 'instances' array"
    else:
        return instances
    raise refuse(f"JSON Value: {text(request)} {wrong}")


def _rows(signature: Signature, instances: list[Any]) -> dict[str, Array]:
    """Make an array for each input, from objects with a value for each, or from bare values for the only one."""
    named = _is_object(instances[0])
    if not isinstance(instances[0], dict) and len(signature.inputs) > 1:
        raise refuse(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    try:
        columns = _split(signature, instances) if named else {next(iter(signature.inputs)): instances}
        return {name: input_arrays.dense(signature.inputs[name], column) for name, column in columns.items()}
    except input_arrays.MisfitError as error:
        _explain_rows(signature, instances, named=named)
        raise refuse(f"tensor parsing error: {','.join(signature.inputs)}") from error


def _split(signature: Signature, instances: list[Any]) -> dict[str, list[Any]]:
    try:
        if set(map(type, instances)) == {dict} and set(map(len, instances)) == {len(signature.inputs)}:
            return {name: [*map(itemgetter(name), instances)] for name in signature.inputs}
    except KeyError as error:
        raise input_arrays.MisfitError from error
    raise input_arrays.MisfitError


def _explain_rows(signature: Signature, instances: list[Any], *, named: bool) -> None:
    """Raise TensorFlow Serving's error for the first instance that does not fit."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, instance in enumerate(instances):
        if named:
            _explain_object(signature, instance, number, shapes)
            continue
        if _is_object(instance):
            raise refuse(f"Expecting value/list but got object at item {number} of input list")
        where = f"Failed to process element: {number} of 'instances' list."
        _explain_item(signature, next(iter(signature.inputs)), instance, where, shapes)


def _explain_object(signature: Signature, instance: Any, number: int, shapes: dict[str, tuple[int, ...]]) -> None:
    if not _is_object(instance):
        raise refuse(f"Expecting object but got list at item {number} of input list")
    for name, item in instance.items():
        where = f"Failed to process element: {number} key: {name} of 'instances' list."
        _explain_item(signature, name, item, where, shapes)
    if set(instance) != set(signature.inputs):
        raise refuse(
            f"Failed to process element: {number} of 'instances' list. JSON object: {text(instance)} "
            f"keys must be equal to: {','.join(signature.inputs)}"
        )


def _explain_item(signature: Signature, name: str, item: Any, where: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise the error of one value; each must have the shape of the first of its name."""
    try:
        if name not in signature.inputs:
            raise refuse(f"JSON object: does not have named input: {name}")
        input_arrays.explain(item, signature.inputs[name].data_type)
        shape = input_arrays.shape_of(item)
        expected = shapes.setdefault(name, shape)
        if input_arrays.size(expected) != input_arrays.size(shape):
            raise refuse(f"Expecting tensor size: {input_arrays.size(expected)} but got: {input_arrays.size(shape)}")
        if expected != shape:
            raise refuse(f"Expecting shape {shape_text(expected)} but got: {shape_text(shape)}")
    except TensorFlowError as error:
        raise refuse(f"{where} Error: {error}") from error


def _columns(signature: Signature, given: Any) -> dict[str, Array]:
    """Make an array for each input, from an object with a value for each, or from a bare value for the only one."""
    if not _is_object(given):
        if len(signature.inputs) > 1:
            raise refuse(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        given = dict.fromkeys(signature.inputs, given)
    for name in signature.inputs:
        if name not in given:
            raise refuse(f"Missing named input: {name} in 'inputs' object.")
    return {name: input_arrays.array(name, spec, given[name]) for name, spec in signature.inputs.items()}


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not input_arrays.is_bytes(value)
