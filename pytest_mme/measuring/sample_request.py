"""A request for a model that the kit did not build: zeros of the types and shapes in its signature."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme.archives.inspect import inspected
from pytest_mme.contract.routes import MAX_BODY_BYTES
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.models.spec import DEFAULT_SIGNATURE

_REAL = {"DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16"}
_WHOLE = {f"DT_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_LEAST_BYTES = 2  # of a number in JSON: a digit and a comma


class NoRequestError(Exception):
    """There is no such request for a model; the message gives the reason."""


def request_of(path: Path, inputs: Mapping[str, Any] | None = None) -> tuple[bytes | None, str]:
    """The body of a request with these *inputs*, or else of zeros; None when there is none, and the reason."""
    if inputs is not None:
        return json.dumps({"inputs": inputs}).encode(), ""
    try:
        return zero_request(path), ""
    except NoRequestError as error:
        return None, f"no request: {error}"


def zero_request(path: Path) -> bytes:
    """The request in TensorFlow Serving's column format for the highest version in the archive at *path*.

    Raises `NoRequestError`, and `ArchiveError` for a file that is not an archive.
    """
    with inspected(path) as archive:
        versions = archive.versions
        model = versions[max(versions)] if versions else None
        if model is None or model.served is None:
            raise NoRequestError("it holds no SavedModel that can be read")
        signature = model.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        raise NoRequestError(f"it has no signature {DEFAULT_SIGNATURE}")
    return request_for(signature.inputs)


def request_for(inputs: Mapping[str, TensorSpec]) -> bytes:
    """The request of zeros for these inputs; raises `NoRequestError`."""
    body = json.dumps({"inputs": {name: _zeros(name, spec) for name, spec in inputs.items()}}, separators=(",", ":"))
    if len(body) > MAX_BODY_BYTES:
        raise NoRequestError(f"its inputs take {len(body)} bytes, and a request may have {MAX_BODY_BYTES}")
    return body.encode()


def _zeros(name: str, spec: TensorSpec) -> Any:
    """Zeros of the tensor's shape; an unknown size counts as 1, an unknown rank as one dimension."""
    shape = (1,) if spec.shape is None else tuple(1 if size is None else size for size in spec.shape)
    if math.prod(shape) * _LEAST_BYTES > MAX_BODY_BYTES:
        raise NoRequestError(f"its input {name} of shape {shape} is more than a request can hold")
    value = _zero(name, spec)
    for size in reversed(shape):
        value = [value] * size
    return value


def _zero(name: str, spec: TensorSpec) -> Any:
    dtype = protos.data_type_name(spec.data_type)
    if not spec.name:
        raise NoRequestError(f"its input {name} is not a plain tensor")
    if dtype == "DT_STRING":
        return {"b64": ""} if name.endswith("_bytes") else ""
    if dtype == "DT_BOOL":
        return False
    if dtype in _REAL:
        return 0.0
    if dtype in _WHOLE:
        return 0
    raise NoRequestError(f"its input {name} is of {dtype.removeprefix('DT_').lower()}, which JSON has no form for")
