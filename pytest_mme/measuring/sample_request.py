"""A request for a model that the kit did not build: zeros of the types and shapes in its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme.contract.routes import MAX_BODY_BYTES
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.models.sample_inputs import NoRequestError, default_signature, sample_value, shape_of


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
    return request_for(default_signature(path).inputs)


def request_for(inputs: Mapping[str, TensorSpec]) -> bytes:
    """The request of zeros for these inputs; raises `NoRequestError`."""
    values = {name: sample_value(name, spec, shape_of(spec), MAX_BODY_BYTES) for name, spec in inputs.items()}
    body = json.dumps({"inputs": values}, separators=(",", ":"))
    if len(body) > MAX_BODY_BYTES:
        raise NoRequestError(f"its inputs take {len(body)} bytes, and a request may have {MAX_BODY_BYTES}")
    return body.encode()
