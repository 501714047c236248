"""Python values of a request as TensorFlow Serving's JSON."""

from __future__ import annotations

import base64
import json
from typing import Any


def to_json(value: Any) -> str:
    """Return JSON with arrays as lists and bytes as ``{"b64": "…"}``; raises TypeError for other objects.

    Source: TensorFlow Serving, "RESTful API", "Encoding binary values".
    """
    return json.dumps(value, default=_form)


def plain(value: Any) -> Any:
    """Return *value* as it is read again from that JSON."""
    return json.loads(to_json(value))


def _form(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"seen {type(value).__name__}; allowed: arrays, lists, dicts, numbers, strings, bytes")
