"""TensorFlow's codes as HTTP statuses."""

from __future__ import annotations

STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each of TensorFlow's codes, as TensorFlow Serving maps them (model_servers/http_server.cc)."""

GPU_STATUS = {**STATUS, "RESOURCE_EXHAUSTED": 507}
"""On a GPU a model may run out of memory at any request, and the contract has a status for that."""
