"""The container contract as data: paths, headers, statuses, limits.

Source: AWS, "Custom Containers Contract for Multi-Model Endpoints" and "Use Your Own Inference Code with Hosting
Services", unless a line says otherwise.
"""

from __future__ import annotations

PING = "/ping"
MODELS = "/models"

MEMORY = "/pytest-mme/memory"
"""Not in the contract: the embedded server reports here how much memory its models use."""
MARK = "/pytest-mme/mark"
"""Not in the contract: the embedded server writes a mark to its events, so that a reader knows how far it has read."""
OPENAPI = "/openapi.json"
"""Not in the contract: the embedded server's description of all its calls."""

TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
REQUEST_ID = "X-Amzn-RequestId"  # not in AWS's contract: the kit's own, so that both sides' views can be joined

MULTI_MODEL = "SAGEMAKER_MULTI_MODEL"
BIND_TO_PORT = "SAGEMAKER_BIND_TO_PORT"
SAFE_PORT_RANGE = "SAGEMAKER_SAFE_PORT_RANGE"  # seen in public logs; AWS documents it for inference pipelines
LABELS = {
    "com.amazonaws.sagemaker.capabilities.multi-models": "true",
    "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
}
MODELS_FOLDER = "/opt/ml/models"
"""The folder of a container that holds each model in a folder of its own."""

ALREADY_LOADED = 409
NOT_LOADED = 404
OUT_OF_MEMORY = 507

MAX_BODY_BYTES = 6_291_456
INVOKE_TIMEOUT_S = 60.0
LOAD_TIMEOUT_S = 360.0
UNLOAD_TIMEOUT_S = 360.0
PING_TIMEOUT_S = 2.0
LOOK_TIMEOUT_S = 5.0
"""For `GET /models` and `GET /models/ID` of a server that is starting (assumed: AWS documents none)."""


def origin(host: str, port: int) -> str:
    """The URL of a server by its address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def model(identifier: str) -> str:
    """The path of one loaded model."""
    return f"{MODELS}/{identifier}"


def invoke(identifier: str) -> str:
    """The path for requests to one model."""
    return f"{MODELS}/{identifier}/invoke"


def rest(identifier: str, version: int | str | None = None) -> str:
    """Not in the contract: the path of a model in TensorFlow Serving's REST API, which users' handlers call."""
    return f"/v1/models/{identifier}" + ("" if version is None else f"/versions/{version}")
