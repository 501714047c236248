"""AWS as a test holds it: boto3's clients, a bucket, and the address of SageMaker Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_mme.aws import environment, moto, sagemaker, wire
from pytest_mme.aws.http_door import Door, Respond
from pytest_mme.aws.s3_folder import S3Folder

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient


class Aws:
    """S3, SageMaker and CloudWatch by moto, SageMaker Runtime by the kit, for unchanged boto3 clients."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.url = door.url
        """The URL of SageMaker Runtime, for clients in other processes."""
        self.bucket = "pytest-mme"
        """The bucket of the endpoints' archives."""
        self.s3.create_bucket(Bucket=self.bucket)

    @cached_property
    def s3(self) -> S3Client:
        """boto3's client."""
        return self._client("s3")  # type: ignore[no-any-return]

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        """boto3's client."""
        return self._client("sagemaker")  # type: ignore[no-any-return]

    @cached_property
    def runtime(self) -> SageMakerRuntimeClient:
        """boto3's client, with its default settings."""
        return self._client("sagemaker-runtime")  # type: ignore[no-any-return]

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """boto3's client."""
        return self._client("cloudwatch")  # type: ignore[no-any-return]

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.client(service, region_name=wire.REGION)  # type: ignore[call-overload]

    def folder(self, prefix: str) -> S3Folder:
        """A folder of archives in the bucket."""
        return S3Folder(self.s3, self.bucket, prefix)

    @contextlib.contextmanager
    def endpoint(self, name: str, url: str, respond: Respond) -> Iterator[None]:
        """Let clients reach a multi-model endpoint by its *name*; ValueError when there is one of that name already.

        *url*: where its archives lie. *respond*: gives the replies to its requests.
        """
        with self._door.opened(name, respond), sagemaker.multi_model_endpoint(self.sagemaker, name, url):
            yield


@contextlib.contextmanager
def simulated_aws() -> Iterator[Aws]:
    """Simulate AWS for this process: dummy credentials, moto's mocks, and the runtime's server; all undone at the end."""
    with contextlib.closing(Door()) as door, environment.for_clients(door.url), moto.mocked():
        yield Aws(door)
