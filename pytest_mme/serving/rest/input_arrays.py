"""JSON values to the arrays of a signature's inputs."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.libtensorflow.tensors import STRING, Array
from pytest_mme.serving.rest.messages import kind, refuse, text, type_name

_MAX_DIMENSIONS = 254  # TensorShape::MaxDimensions() of tensorflow/core/framework/tensor_shape.h
_SPACE = re.compile(r"\s+")


class MisfitError(Exception):
    """The values do not fit; `explain` raises the error with its message."""


def array(name: str, spec: TensorSpec, value: Any) -> Array:
    """Convert nested lists to the array of the input *name*.

    Raises `TensorFlowError` with TensorFlow Serving's message when they do not fit.
    """
    try:
        return dense(spec, value)
    except MisfitError as error:
        explain(value, spec.data_type)
        raise refuse(f"tensor parsing error: {name}") from error


def dense(spec: TensorSpec, value: Any) -> Array:
    """Convert nested lists to an array, all leaves at once; raises `MisfitError` when they do not fit."""
    try:
        shape, leaves = _flat(value)
        return _convert(spec, leaves).reshape(shape)
    except (ValueError, TensorFlowError) as error:  # more dimensions than numpy has; an invalid string
        raise MisfitError from error


def _flat(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested lists and their leaves; raises `MisfitError` when they are ragged."""
    if type(value) is not list:
        return (), [value]
    shape, level = [len(value)], value
    while level and type(level[0]) is list:
        if set(map(type, level)) != {list} or len(sizes := set(map(len, level))) != 1:
            raise MisfitError
        shape += sizes
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def _convert(spec: TensorSpec, leaves: list[Any]) -> Array:
    if not leaves:
        return np.empty(0, spec.dtype)
    converter = _CONVERTERS.get(spec.data_type)
    if converter is None:
        raise MisfitError
    return converter(leaves, set(map(type, leaves)), spec.dtype)


def _floats(leaves: list[Any], types: set[type], dtype: np.dtype[Any]) -> Array:
    if not types <= {int, float}:
        raise MisfitError
    with np.errstate(over="ignore"):  # a value too large for a float becomes infinite
        return np.array(leaves, dtype)


def _bools(leaves: list[Any], types: set[type], dtype: np.dtype[Any]) -> Array:
    if types != {bool}:
        raise MisfitError
    return np.array(leaves, dtype)


def _integers(held: str) -> Callable[[list[Any], set[type], np.dtype[Any]], Array]:
    limits = np.iinfo(held)

    def convert(leaves: list[Any], types: set[type], dtype: np.dtype[Any]) -> Array:
        if types != {int} or min(leaves) < limits.min or max(leaves) > limits.max:
            raise MisfitError
        return np.array(leaves, held).astype(dtype)

    return convert


def _strings(leaves: list[Any], types: set[type], dtype: np.dtype[Any]) -> Array:
    if not types <= {str, dict}:
        raise MisfitError
    strings = np.empty(len(leaves), dtype)
    strings[:] = [encoded(leaf) for leaf in leaves] if types == {str} else [string(leaf) for leaf in leaves]
    return strings


_INT32 = _integers("int32")
_CONVERTERS = {
    protos.data_type_number(f"DT_{name}"): converter
    for name, converter in {
        "FLOAT": _floats,
        "DOUBLE": _floats,
        "BOOL": _bools,
        "STRING": _strings,
        # An 8-bit or 16-bit input takes what 32 bits hold, and the tensor only its lowest bits: 300 is 44 as uint8.
        "INT32": _INT32,
        "INT16": _INT32,
        "INT8": _INT32,
        "UINT8": _INT32,
        "INT64": _integers("int64"),
        "UINT32": _integers("uint32"),
        "UINT64": _integers("uint64"),
    }.items()
}
"""The converters by `DataType`. All others (also half, bfloat16 and uint16) are UNIMPLEMENTED in TensorFlow Serving: its issue 1639."""


def is_bytes(value: Any) -> bool:
    """Whether *value* is ``{"b64": "…"}``."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def encoded(value: str) -> bytes:
    """The bytes of a string as they were in the body, even if that was not UTF-8."""
    try:
        return value.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:  # such as "\ud800", which Python reads
        raise refuse("JSON Parse error: The surrogate pair in string is invalid.") from error


def string(value: Any) -> bytes:
    """The bytes of a string or of ``{"b64": "…"}``."""
    if isinstance(value, str):
        return encoded(value)
    if not is_bytes(value):
        raise refuse(f"JSON Value: {text(value)} not formatted correctly for base64 data")
    digits = _SPACE.sub("", value["b64"]).rstrip("=")  # absl::Base64Unescape accepts it with and without padding
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse("Unable to base64 decode") from error


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of nested lists, by the first element of each."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def size(shape: Sequence[int]) -> int:
    """How many elements a tensor of that *shape* has."""
    return math.prod(shape)


def explain(value: Any, data_type: int) -> None:
    """Raise TensorFlow Serving's error for the first thing in *value* that does not fit, if there is one."""
    shape = shape_of(value)
    if len(shape) <= _MAX_DIMENSIONS:
        _explain(value, data_type, shape, 0)


def _explain(value: Any, data_type: int, shape: Sequence[int], level: int) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise refuse(
                f"JSON Value: {text(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {len(shape)}"
            )
        return _explain_leaf(value, data_type)
    if level >= len(shape):
        raise refuse(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise refuse(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _explain(element, data_type, shape, level + 1)
    return None


def _explain_leaf(value: Any, data_type: int) -> None:
    if isinstance(value, dict):
        if data_type != STRING:
            raise _wrong_type(value, data_type)
        string(value)
        return
    converter = _CONVERTERS.get(data_type)
    if converter is None:
        raise refuse(f"Conversion of JSON Value: {text(value)} to type: {type_name(data_type)}", "UNIMPLEMENTED")
    try:
        converter([value], {type(value)}, np.dtype(object))
    except MisfitError:
        raise _wrong_type(value, data_type) from None


def _wrong_type(value: Any, data_type: int) -> TensorFlowError:
    return refuse(f"JSON Value: {text(value)} Type: {kind(value)} is not of expected type: {type_name(data_type)}")
