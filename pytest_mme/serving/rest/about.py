"""The replies about a model: the state of its versions, and its signatures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from pytest_mme.libtensorflow.saved_model import SavedModel

_WITH_DEFAULTS: Any = (
    {"always_print_fields_with_no_presence": True}
    if "always_print_fields_with_no_presence" in inspect.signature(json_format.MessageToDict).parameters
    else {"including_default_value_fields": True}  # its name before protobuf 5.26
)


def status(versions: Iterable[int]) -> bytes:
    """The body of ``GET /v1/models/NAME`` when all *versions* are available: the highest first."""
    return _print(
        {
            "model_version_status": [
                {
                    "version": str(version),
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for version in sorted(versions, reverse=True)
            ]
        }
    )


def metadata(model: SavedModel, *, name: str, version: int) -> bytes:
    """The body of ``GET /v1/models/NAME/metadata``: all signatures, also internal ones."""
    signatures = {
        key: json_format.MessageToDict(signature.definition, preserving_proto_field_name=True, **_WITH_DEFAULTS)
        for key, signature in model.signatures.items()
    }
    return _print(
        {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }
    )


def _print(reply: Any) -> bytes:
    """Indent by one space for each level, as protobuf prints."""
    return f"{json.dumps(reply, indent=1)}\n".encode()
