"""Parses the JSON object in a body, with RapidJSON's errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from pytest_mme.errors import TensorFlowError
from pytest_mme.serving.rest.messages import refuse, text

_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Extra data": "The document root must not be followed by other values.",
}
"""RapidJSON's messages (error/en.h), which TensorFlow Serving passes on, by those of Python's parser.

Where the two name different offsets, the reply has Python's.
"""
_COMMA = "Missing a comma or {} after an {}."
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_SPECIAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Inf)\b', re.DOTALL)


_PYTHON_SPELLINGS = {"-NaN": "NaN", "Inf": "Infinity", "-Inf": "-Infinity"}


class _TooBigError(Exception):
    """A number too large for a float; the message is its digits."""


def parse(body: bytes) -> Mapping[str, Any]:
    """Parse the object in *body*; raises `TensorFlowError` INVALID_ARGUMENT when there is none.

    When a key occurs twice, the last value counts; TensorFlow Serving takes the first.
    """
    if not body:
        raise refuse("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise refuse(f"JSON Value: {text(document)} Is not object")
    return document


def _parse_leniently(body: bytes) -> Any:
    """Parse NaN, Infinity, a byte order mark and broken UTF-8, too: RapidJSON reads them, orjson does not."""
    source = body.decode("utf-8-sig", "surrogateescape")
    try:
        return _load(source)
    except json.JSONDecodeError:
        pass
    try:
        return _load(_SPECIAL.sub(lambda found: _PYTHON_SPELLINGS.get(found[0], found[0]), source))
    except json.JSONDecodeError as error:
        unterminated = error.msg.startswith(
            "Unterminated"
        )  # RapidJSON reports the end of the body, Python the start of the string
        raise _refusal(_message(error), error.doc if unterminated else error.doc[: error.pos]) from error


def _load(source: str) -> Any:
    try:
        return json.loads(source, parse_int=_integer, parse_float=_float)
    except _TooBigError as error:
        raise _refusal("Number too big to be stored in double.", source.partition(str(error))[0]) from error
    except RecursionError as error:
        # Assumed: TensorFlow Serving overflows its stack and dies (github.com/tensorflow/serving/issues/4116).
        raise refuse("JSON Parse error: the values are nested too deeply") from error


def _refusal(message: str, read: str) -> TensorFlowError:
    """The error with the offset behind the part of the body that was *read*."""
    return refuse(f"JSON Parse error: {message} at offset: {len(read.encode(errors='surrogateescape'))}")


def _integer(digits: str) -> int | float:
    """Convert to a float when 64 bits cannot hold the number."""
    number = int(digits) if len(digits) <= 20 else None
    return number if number is not None and -(2**63) <= number < 2**64 else _float(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _TooBigError(digits)
    return number


def _message(error: json.JSONDecodeError) -> str:
    if error.msg == "Expecting ',' delimiter":
        return _COMMA.format(*(("}", "object member") if _in_object(error) else ("]", "array element")))
    if error.msg == "Expecting value" and not error.doc[: error.pos + 1].strip():
        return "The document is empty."
    return _ERRORS.get(error.msg, f"{error.msg}.")


def _in_object(error: json.JSONDecodeError) -> bool:
    """Whether the innermost bracket that is open at the *error* is a curly one."""
    still_open = []
    for found in _STRING_OR_BRACKET.finditer(error.doc, 0, error.pos):
        if found[0] in "[{":
            still_open.append(found[0])
        elif found[0] in "]}":
            still_open.pop()
    return still_open[-1] == "{"
