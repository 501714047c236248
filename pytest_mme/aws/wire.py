"""The wire format of SageMaker Runtime: the headers, requests and errors of `InvokeEndpoint`.

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

NO_REPLY = 0
"""The `OriginalStatusCode` of a request that got no reply from the container."""


class WireError(Exception):
    """An error of the service: HTTP status, error code, message, and the other members of its body."""

    def __init__(self, status: int, code: str, message: str, **members: Any) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message, self.members = status, code, message, members

    def body(self) -> bytes:
        """The body of the HTTP reply, in JSON."""
        return json.dumps({"Message": self.message, **self.members}).encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class WireRequest:
    """One HTTP try of a client."""

    endpoint: str
    target: str | None
    body: bytes
    headers: Mapping[str, str]
    """The headers that are passed on to the container."""
    request_id: str
    attempt: str | None = None
    """The client's count of its tries, botocore's ``attempt=1; max=5``."""
    invocation: str | None = None
    """What all tries of one call of an AWS SDK have in common."""


def validation_error(message: str) -> WireError:
    """A request that cannot be served as it is."""
    return WireError(400, "ValidationError", message)


def no_such_endpoint(name: str) -> WireError:
    """The endpoint does not exist."""
    return validation_error(f"Endpoint {name} of account {ACCOUNT} not found.")


def no_target_model(name: str) -> WireError:
    """The request to a multi-model endpoint has no TargetModel (assumed: AWS documents no text)."""
    return validation_error(f"Endpoint {name} is a multi-model endpoint: TargetModel is missing from the request.")


def download_failed(bucket: str, key: str) -> WireError:
    """The archive is not in S3."""
    return validation_error(f"Failed to download model data (bucket: {bucket}, key: {key}). Please ensure that there "
                            "is an object located at the URL and that the role passed to CreateModel has permissions "
                            "to download the model.")  # fmt: skip


def extract_failed(bucket: str, key: str, why: str) -> WireError:
    """The object in S3 is not an archive, or may not be unpacked (assumed: AWS documents no text)."""
    return validation_error(f"Failed to extract model data archive (bucket: {bucket}, key: {key}): {why}")


def disk_full(bucket: str, key: str) -> WireError:
    """The archive does not fit on the instance's disk (the sentence is AWS's for one that is too large; that it is this error: assumed)."""
    return validation_error(f"The model data archive is too large (bucket: {bucket}, key: {key}). Please reduce the "
                            "size of the model data archive or move to an instance type with more storage: no space "
                            "left on device")  # fmt: skip


def model_not_ready(target: str) -> WireError:
    """The model is still being downloaded or loaded."""
    return WireError(429, "ModelNotReadyException", f"Model {target} is not ready for inference yet; try again.")


def internal_failure(error: Exception) -> WireError:
    """The kit itself failed."""
    return WireError(500, "InternalFailure", f"{type(error).__name__}: {error}")


def model_error(name: str, original_status: int, original_body: bytes) -> WireError:
    """The container's reply was a 4xx or 5xx."""
    text = original_body.decode(errors="replace")
    if original_status < 500:
        return _model_error(name, text, original_status, side="client", code="CLIENT_ERROR_FROM_MODEL")
    return _model_error(name, text, original_status)


def model_timed_out(name: str) -> WireError:
    """The container gave no reply in time."""
    text = (
        "Your invocation timed out while waiting for a response from container primary. Review the latency metrics "
        "for each container in Amazon CloudWatch, resolve the issue, and try again."
    )
    return _model_error(name, text, NO_REPLY)


def container_gone(name: str) -> WireError:
    """The container is gone."""
    text = (
        f"Amazon SageMaker could not get a response from the {name} endpoint. This can occur when CPU or memory "
        "utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance "
        "type with more CPU capacity or memory."
    )
    return _model_error(name, text, NO_REPLY)


def _model_error(
    name: str, text: str, original_status: int, *, side: str = "server", code: str = "INTERNAL_FAILURE_FROM_MODEL"
) -> WireError:
    group = f"/aws/sagemaker/Endpoints/{name}"
    return WireError(
        424,
        "ModelError",
        f'Received {side} error ({original_status}) from primary with message "{text}". '
        f"See https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
        f"#logEventViewer:group={group} in account {ACCOUNT} for more information.",
        ErrorCode=code,
        LogStreamArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}",
        OriginalMessage=text,
        OriginalStatusCode=original_status,
    )
