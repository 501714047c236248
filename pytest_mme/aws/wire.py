"""The runtime's wire format: how SageMaker's `InvokeEndpoint` says yes and no.

Source: botocore's service model of `sagemaker-runtime`, AWS's API reference of InvokeEndpoint, and texts that people
quoted from real endpoints.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

PATH = "/endpoints/{name}/invocations"
ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"

ERROR_TYPE = "x-amzn-ErrorType"
REQUEST_ID = "x-amzn-RequestId"
VARIANT = "x-Amzn-Invoked-Production-Variant"
VARIANT_NAME = "AllTraffic"

NO_ANSWER = 0
"""The `OriginalStatusCode` of a request that the container never answered."""


class WireError(Exception):
    """An answer of the service other than the model's: HTTP status, error code, and the members of its body."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.members = status, code, message, members

    def body(self) -> bytes:
        """As JSON."""
        return json.dumps({"Message": self.message, **self.members}).encode()


@dataclasses.dataclass(frozen=True)
class WireRequest:
    """One HTTP try of a client."""

    endpoint: str
    target: str | None
    body: bytes
    headers: Mapping[str, str]
    """Those that the container gets to see."""
    request_id: str
    attempt: str | None = None
    """What the client says of its retries, botocore's ``attempt=1; max=5``."""


def validation_error(message: str) -> WireError:
    """A request that cannot be served as it is."""
    return WireError(400, "ValidationError", message)


def no_such_endpoint(name: str) -> WireError:
    """The endpoint does not exist."""
    return validation_error(f"Endpoint {name} of account {ACCOUNT} not found.")


def no_target_model(name: str) -> WireError:
    """A multi-model endpoint was asked without a TargetModel (assumed: AWS documents no text)."""
    return validation_error(f"Endpoint {name} is a multi-model endpoint: TargetModel is missing from the request.")


def download_failed(bucket: str, key: str) -> WireError:
    """The archive is not in S3."""
    return validation_error(f"Failed to download model data (bucket: {bucket}, key: {key}). Please ensure that there "
                            "is an object located at the URL and that the role passed to CreateModel has permissions "
                            "to download the model.")  # fmt: skip


def extract_failed(bucket: str, key: str, why: str) -> WireError:
    """What is in S3 is no archive that may be unpacked (assumed: AWS documents no text)."""
    return validation_error(f"Failed to extract model data archive (bucket: {bucket}, key: {key}): {why}")


def disk_full(bucket: str, key: str) -> WireError:
    """The archive does not fit on the instance's disk (the sentence is AWS's for one that is too large; how: assumed)."""
    return validation_error(f"The model data archive is too large (bucket: {bucket}, key: {key}). Please reduce the "
                            "size of the model data archive or move to an instance type with more storage: no space "
                            "left on device")  # fmt: skip


def model_not_ready(target: str) -> WireError:
    """Still downloading or loading."""
    return WireError(429, "ModelNotReadyException", f"Model {target} is not ready for inference yet; try again.")


def internal_failure(error: Exception) -> WireError:
    """A mistake of the kit's own."""
    return WireError(500, "InternalFailure", f"{type(error).__name__}: {error}")


def model_error(name: str, original_status: int, original_body: bytes) -> WireError:
    """The container answered 4xx or 5xx."""
    text = original_body.decode(errors="replace")
    side, code = (
        ("client", "CLIENT_ERROR_FROM_MODEL") if original_status < 500 else ("server", "INTERNAL_FAILURE_FROM_MODEL")
    )
    message = f'Received {side} error ({original_status}) from primary with message "{text}". {_see_logs(name)}'
    return _model_error(name, message, code, text, original_status)


def model_timed_out(name: str) -> WireError:
    """The container gave no answer in time."""
    text = (
        "Your invocation timed out while waiting for a response from container primary. Review the latency metrics "
        "for each container in Amazon CloudWatch, resolve the issue, and try again."
    )
    return _silent(name, text)


def container_gone(name: str) -> WireError:
    """There is no container to answer."""
    text = (
        f"Amazon SageMaker could not get a response from the {name} endpoint. This can occur when CPU or memory "
        "utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance "
        "type with more CPU capacity or memory."
    )
    return _silent(name, text)


def _silent(name: str, text: str) -> WireError:
    message = f'Received server error ({NO_ANSWER}) from primary with message "{text}". {_see_logs(name)}'
    return _model_error(name, message, "INTERNAL_FAILURE_FROM_MODEL", text, NO_ANSWER)


def _model_error(name: str, message: str, code: str, text: str, original_status: int) -> WireError:
    return WireError(
        424,
        "ModelError",
        message,
        ErrorCode=code,
        LogStreamArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{name}",
        OriginalMessage=text,
        OriginalStatusCode=original_status,
    )


def _see_logs(name: str) -> str:
    return (
        f"See https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
        f"#logEventViewer:group=/aws/sagemaker/Endpoints/{name} in account {ACCOUNT} for more information."
    )
