"""Errors in TensorFlow Serving's format: JSON values, types and shapes as it prints them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos

_KINDS = {
    type(None): "Null",
    int: "Number",
    float: "Number",
    str: "String",
    list: "Array",
    dict: "Object",
}
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_INDENTATION = re.compile(rb"^ +", re.MULTILINE)


def refuse(message: str, code: str = "INVALID_ARGUMENT") -> TensorFlowError:
    """The error to raise; lone surrogates in *message*, which a client may send, become question marks."""
    return TensorFlowError(code, message.encode(errors="replace").decode())


def kind(value: Any) -> str:
    """The JSON type of a *value*: ``Number``, ``True``, …"""
    return str(value) if isinstance(value, bool) else _KINDS[type(value)]


def text(value: Any) -> str:
    """A *value* as JSON; lists and objects are printed over several lines."""
    if isinstance(value, float):
        return _decimal(value)
    with contextlib.suppress(TypeError):  # orjson's, for broken strings and deep nests
        printed = orjson.dumps(value, option=orjson.OPT_INDENT_2)
        if b"null" not in printed:  # orjson prints it for NaN, too
            return _INDENTATION.sub(lambda spaces: spaces[0] * 2, printed).decode()
    try:
        return json.dumps(value, indent=4, ensure_ascii=False)
    except RecursionError:
        return "…"


def _decimal(value: float) -> str:
    """Print six digits when they are enough, else all: `absl::StrCat`, then ``%.*g``."""
    number = np.float32(value) if abs(value) <= _LARGEST_FLOAT else np.float64(value)
    if not np.isfinite(number):
        return "NaN" if np.isnan(number) else f"{'-' if number < 0 else ''}Infinity"
    digits = 9 if number.dtype == np.float32 else 17
    short = f"{number:.6g}"
    printed = short if number.dtype.type(short) == number else f"{number:.{digits}g}"
    return printed if "." in printed or "e" in printed else f"{printed}.0"


def type_name(data_type: int) -> str:
    """A `DataType` number as TensorFlow prints it: ``float``, ``int32``, …"""
    return protos.data_type_name(data_type).removeprefix("DT_").lower()


def shape_text(shape: Sequence[int]) -> str:
    """A shape as TensorFlow prints it: ``[2,3]``."""
    return f"[{','.join(map(str, shape))}]"
