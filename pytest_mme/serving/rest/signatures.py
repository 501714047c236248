"""Checks of a request and of a signature that all methods share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import Signature
from pytest_mme.serving.rest.messages import refuse, text, type_name

_WRITTEN = {
    protos.data_type_number(f"DT_{name}")
    for name in (
        *("FLOAT", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "UINT64", "BOOL", "STRING"),
    )
}
_REFERENCE = 100  # the offset of a reference's `DataType` from its value's


def requested_name(request: Mapping[str, Any]) -> str:
    """The name of the requested signature; empty for the default one."""
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise refuse(
            f"JSON Value: {text(request)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def check_outputs(signature: Signature) -> None:
    """Refuse a signature with outputs that TensorFlow Serving cannot write; the real one notices after the run."""
    if not signature.outputs:
        raise refuse("Cannot convert empty tensor map to JSON")
    for spec in signature.outputs.values():
        if spec.data_type % _REFERENCE not in _WRITTEN:
            raise refuse(f"Failed to write JSON value for tensor type: {type_name(spec.data_type)}")
