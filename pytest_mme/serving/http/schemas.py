"""The bodies of the server's calls as JSON Schema, by the names that its description (`openapi.py`) gives them."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

IDENTIFIER = r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
"""A model's id, as a pattern. The platform's are 32 hexadecimal digits."""
PAGE_TOKEN = r"[0-9]{1,18}"
VERSION = r"[0-9]{1,19}"  # TensorFlow Serving keeps versions as int64
"""A page's token, as a pattern."""


def reference(name: str) -> Schema:
    """Stands for the schema of that *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def matching(pattern: str) -> Schema:
    """A string that is all of the *pattern*."""
    return {"type": "string", "pattern": f"^{pattern}$"}


def _object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}, **more}


def _closed(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    return _object(required, optional, additionalProperties=False, **more)


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


_TEXT = {"type": "string"}
_BYTES = {"type": "integer", "minimum": 0}
_VERSION = matching(VERSION)
_ANYTHING: Schema = {}
_FEATURE = {"type": ["number", "string", "object", "array"]}
_SIGNATURE = {
    "signature_name": {"type": "string", "description": "Which signature of the model; default: serving_default."}
}

SCHEMAS: Schema = {
    "Error": _closed({"error": {"type": "string", "description": "What happened, for people."}}),
    "Nothing": _closed({}),
    "LoadOrder": _object(
        {
            "model_name": {**matching(IDENTIFIER), "description": "The id; the platform's say nothing of the archive."},
            "url": {
                "type": "string",
                "pattern": "^/",
                "description": "The folder with the unpacked archive, by its whole path: /opt/ml/models/ID/model.",
            },
        },
        description="Members that are not named here are ignored.",
    ),
    "Model": _closed({"modelName": matching(IDENTIFIER), "modelUrl": _TEXT}),
    "Page": _closed(
        {"models": _list(reference("Model"), maxItems=100, description="In the order of loading.")},
        {"nextPageToken": {**matching(PAGE_TOKEN), "description": "Not on the last page."}},
    ),
    "Rows": _object(
        {"instances": _list(_ANYTHING, minItems=1)},
        _SIGNATURE,
        description="TensorFlow Serving's row format: a value for each instance, or an object with one for each input. "
        'Bytes are {"b64": "…"}.',
    ),
    "Columns": _object(
        {"inputs": _ANYTHING},
        _SIGNATURE,
        description="TensorFlow Serving's column format: a whole tensor for each input, or for the only one.",
    ),
    "Examples": _object(
        {"examples": _list({"type": "object", "additionalProperties": _FEATURE}, minItems=1)},
        {"context": {"type": "object", "additionalProperties": _FEATURE}, **_SIGNATURE},
        description="The body of classify and regress: tensorflow.Example messages by their features; the context's "
        "belong to each.",
    ),
    "Predictions": _closed({"predictions": _list(_ANYTHING)}, description="Answers rows, one for each instance."),
    "Outputs": _closed({"outputs": _ANYTHING}, description="Answers columns."),
    "Results": _closed({"results": _list(_ANYTHING)}, description="Answers examples, one for each."),
    "Answer": {
        "oneOf": [reference(name) for name in ("Predictions", "Outputs", "Results")],
        "description": "A float that is NaN or infinite is printed as NaN, Infinity or -Infinity, which is no JSON.",
    },
    "Status": _closed(
        {
            "model_version_status": _list(
                _closed(
                    {
                        "version": _VERSION,
                        "state": {"enum": ["AVAILABLE"]},
                        "status": _closed({"error_code": {"enum": ["OK"]}, "error_message": _TEXT}),
                    }
                ),
                description="The highest version first.",
            )
        }
    ),
    "Metadata": _closed(
        {
            "model_spec": _closed({"name": _TEXT, "signature_name": _TEXT, "version": _VERSION}),
            "metadata": _closed(
                {
                    "signature_def": _closed(
                        {
                            "signature_def": {
                                "type": "object",
                                "additionalProperties": {"type": "object"},
                                "description": "TensorFlow's SignatureDef of each signature.",
                            }
                        }
                    )
                }
            ),
        }
    ),
    "Memory": _closed(
        {
            "used_bytes": {**_BYTES, "description": "What all models use together."},
            "limit_bytes": {"type": ["integer", "null"], "description": "What they may use; null: no limit."},
        },
        {
            "gpu_used_bytes": {**_BYTES, "description": "What all processes of the machine use of the GPU's memory."},
            "gpu_total_bytes": {**_BYTES, "description": "What there is of it."},
        },
    ),
}
