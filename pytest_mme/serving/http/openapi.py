"""The description of the server's calls, which it serves itself at `routes.OPENAPI`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson


def description() -> Mapping[str, Any]:
    """The OpenAPI 3.1 document `openapi.json`."""
    content: Mapping[str, Any] = orjson.loads(files(__package__).joinpath("openapi.json").read_bytes())
    return content
