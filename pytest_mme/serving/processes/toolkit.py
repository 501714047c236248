"""The SageMaker inference toolkit's defaults for `input_fn` and `output_fn`."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

_JSON, _NPY, _CSV = "application/json", "application/x-npy", "text/csv"


class UnsupportedFormatError(Exception):
    """A content type that only an `input_fn` or `output_fn` in the user's code could handle; becomes a 415."""

    status_code = 415

    def __init__(self, content_type: str) -> None:
        super().__init__(f"{content_type} is neither {_JSON}, {_NPY} nor {_CSV}: write an input_fn or output_fn for it")


def decode(body: bytes, content_type: str) -> Any:
    """Decode a body to a numpy array; raises `UnsupportedFormatError`."""
    kind = content_type.partition(";")[0].strip()
    if kind == _JSON:
        return np.array(json.loads(body))
    if kind == _NPY:
        return np.load(io.BytesIO(body), allow_pickle=False)
    if kind == _CSV:
        return np.genfromtxt(io.StringIO(body.decode()), dtype=np.float32, delimiter=",")
    raise UnsupportedFormatError(content_type)


def encode(prediction: Any, accept: str) -> bytes:
    """Encode a prediction, as an array if need be, to a body; raises `UnsupportedFormatError`."""
    kind = accept.partition(";")[0].strip()
    stream = io.BytesIO()
    if kind == _JSON:
        stream.write(json.dumps(_plain(prediction)).encode())
    elif kind == _NPY:
        np.save(stream, np.asarray(prediction), allow_pickle=False)
    elif kind == _CSV:
        np.savetxt(stream, np.atleast_2d(np.asarray(prediction)), delimiter=",", fmt="%s")
    else:
        raise UnsupportedFormatError(accept)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Convert arrays to lists, also in lists and dicts."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return np.asarray(value).tolist() if hasattr(value, "__array__") else value
