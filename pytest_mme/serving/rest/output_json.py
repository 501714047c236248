"""Arrays to the JSON of a reply."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from pytest_mme.libtensorflow.tensors import Array
from pytest_mme.serving.rest.messages import refuse


def dump(reply: Any) -> bytes:
    """Encode what `value` and `elements` return, in dictionaries and lists, as JSON.

    Floats get the fewest digits that distinguish them from their neighbours. TensorFlow Serving gives a float six digits,
    and nine where six are too few; both read as the same float.
    """
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def by_rows(outputs: Mapping[str, Array]) -> Any:
    """The content of ``predictions``: for each instance a value, or an object when there are several outputs."""
    expected = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise refuse(f"Tensor name: {name} has no shape information ")
        if expected is not None and len(array) != expected:
            raise refuse(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}")
        expected = len(array)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return value(name, array)
    columns = [elements(name, array) for name, array in outputs.items()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def by_columns(outputs: Mapping[str, Array]) -> Any:
    """The content of ``outputs``: the one output, or an object when there are several."""
    columns = {name: value(name, array) for name, array in outputs.items()}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def value(name: str, array: Array) -> Any:
    """Convert an output for `dump`. Strings become base64 when the *name* ends in ``_bytes``."""
    if array.dtype != object:
        return _number(array)
    strings: list[bytes] = array.ravel().tolist()
    written = np.empty(array.size, object)
    if name.endswith("_bytes"):
        written[:] = [{"b64": base64.b64encode(element).decode()} for element in strings]
    else:
        written[:] = [string(element) for element in strings]
    return written.reshape(array.shape).tolist()


def elements(name: str, array: Array) -> list[Any]:
    """Convert each element along the first axis for `dump`."""
    if array.dtype == object:
        strings: list[Any] = value(name, array)
        return strings
    return list(array) if _finite(array) else [_number(np.asarray(element)) for element in array]


def _number(array: Array) -> Any:
    return array[()] if _finite(array) else orjson.Fragment(_with_nan(array))


def _finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _with_nan(array: Array) -> bytes:
    """Write NaN and Infinity, which JSON does not have, as TensorFlow Serving does; orjson writes null."""
    odd = array[~np.isfinite(array)]
    names = np.where(np.isnan(odd), b"NaN", np.where(odd > 0, b"Infinity", b"-Infinity")).tolist()
    parts = dump(array[()]).split(b"null")
    parts[1:] = [part for pair in zip(names, parts[1:], strict=True) for part in pair]
    return b"".join(parts)


def string(element: bytes) -> Any:
    """Convert a string; bytes that are not UTF-8 are passed on unchanged, as in TensorFlow Serving."""
    try:
        return element.decode()
    except UnicodeDecodeError:
        printed = json.dumps(element.decode(errors="surrogateescape"), ensure_ascii=False)
        return orjson.Fragment(printed.encode(errors="surrogateescape"))
