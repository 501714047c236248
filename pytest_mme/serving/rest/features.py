"""JSON objects to `tensorflow.Example` messages."""

from __future__ import annotations

from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.serving.rest import input_arrays
from pytest_mme.serving.rest.messages import kind, refuse

_LISTS = {bool: "int64", int: "int64", float: "float", str: "bytes", dict: "bytes"}
"""The list of a `Feature` that holds a JSON value, by its Python type."""


def example(given: Any) -> bytes:
    """Serialise an `Example` from an object with a value or a list of values for each feature."""
    if not isinstance(given, dict):
        raise refuse(f"Example must be JSON object but got JSON {kind(given)}")
    message = protos.Example()
    for name, value in given.items():
        content = value if isinstance(value, list) else [value]
        feature, types = message.features.feature[name], set(map(type, content))
        lists = {_LISTS.get(of) for of in types}
        if len(lists) > 1 or None in lists:
            _explain(name, content)
        for held in lists:
            getattr(feature, f"{held}_list").value.extend(_elements(name, content, types))
    serialised: bytes = message.SerializeToString()
    return serialised


def _elements(name: str, content: list[Any], types: set[type]) -> list[Any]:
    if types & {str, dict}:
        _explain(name, content)
        return [input_arrays.string(element) for element in content]
    if int in types and not -(2**63) <= min(content) <= max(content) < 2**63:
        raise refuse(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return [*map(int, content)] if bool in types else content  # protobuf does not accept a bool as a number


def _explain(name: str, content: list[Any]) -> None:
    """Raise TensorFlow Serving's error for the first element that does not fit, if there is one."""
    first = None
    for element in content:
        held = _LISTS.get(type(element))
        if held is None or (isinstance(element, dict) and not input_arrays.is_bytes(element)):
            raise refuse(f"Feature: {name} has element with unexpected JSON type: {kind(element)}")
        first = first or held
        if held != first:
            raise refuse(f"Unexpected element type in feature: {name} expecting type: {first}")
