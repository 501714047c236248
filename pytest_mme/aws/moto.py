"""AWS, played by moto: everything that touches moto is here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from pytest_mme.aws import wire
from pytest_mme.aws.door import FrontDoor
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.contract.client import Reply

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

ENDPOINT_URL = "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"
_DUMMIES = {
    "AWS_ACCESS_KEY_ID": "pytest-mme",
    "AWS_SECRET_ACCESS_KEY": "pytest-mme",
    "AWS_SESSION_TOKEN": "pytest-mme",
    "AWS_DEFAULT_REGION": wire.REGION,
    "AWS_CONFIG_FILE": os.devnull,  # a profile there may name real credentials or other endpoints
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_REGION")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_ROLE = f"arn:aws:iam::{wire.ACCOUNT}:role/pytest-mme"
_IMAGE = f"{wire.ACCOUNT}.dkr.ecr.{wire.REGION}.amazonaws.com/pytest-mme:latest"


class Answering(Protocol):
    """An endpoint, as the front door sees it."""

    def answer(self, request: wire.WireRequest) -> Reply:
        """Answer one HTTP try, or raise `WireError`."""


class Aws:
    """S3, SageMaker and CloudWatch by moto, SageMaker Runtime by the kit, for unchanged boto3 clients."""

    def __init__(self, url: str, endpoints: dict[str, Answering]) -> None:
        self.url = url
        """Where SageMaker Runtime answers, for clients in other processes."""
        self.bucket = "pytest-mme"
        """The bucket of the endpoints' archives."""
        self._endpoints = endpoints
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
    def endpoint(self, name: str, url: str, answering: Answering) -> Iterator[None]:
        """Create model (`Mode=MultiModel`), endpoint config and endpoint, and let the front door know."""
        if name in self._endpoints:
            raise ValueError(f"there is an endpoint {name!r} already: give each its own name")
        sagemaker = self.sagemaker
        with contextlib.ExitStack() as undo:
            container = {"Image": _IMAGE, "Mode": "MultiModel", "ModelDataUrl": url}
            sagemaker.create_model(ModelName=name, ExecutionRoleArn=_ROLE, PrimaryContainer=container)  # type: ignore[arg-type]
            undo.callback(sagemaker.delete_model, ModelName=name)
            variant = {
                "VariantName": wire.VARIANT_NAME,
                "ModelName": name,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
            sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])  # type: ignore[list-item]
            undo.callback(sagemaker.delete_endpoint_config, EndpointConfigName=name)
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
            undo.callback(sagemaker.delete_endpoint, EndpointName=name)
            self._endpoints[name] = answering
            undo.callback(self._endpoints.pop, name)
            yield


@contextlib.contextmanager
def play_aws() -> Iterator[Aws]:
    """Play AWS for this process: dummy credentials, moto, the front door; all of it is undone at the end."""
    endpoints: dict[str, Answering] = {}
    with contextlib.ExitStack() as undo:
        door = FrontDoor(_dispatch(endpoints))
        undo.callback(door.close)
        undo.enter_context(_environment({**_DUMMIES, **_no_proxy(), ENDPOINT_URL: door.url}))
        undo.enter_context(_moto())
        yield Aws(door.url, endpoints)


def _dispatch(endpoints: dict[str, Answering]) -> Callable[[wire.WireRequest], Reply]:
    def answer(request: wire.WireRequest) -> Reply:
        endpoint = endpoints.get(request.endpoint)
        if endpoint is None:
            raise wire.no_such_endpoint(request.endpoint)
        return endpoint.answer(request)

    return answer


def _no_proxy() -> dict[str, str]:
    """What keeps a proxy out of the way to the front door."""
    return {name: ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))) for name in _NO_PROXY}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    unset = (*_UNSET, *(name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")))
    touched = {name: os.environ.get(name) for name in (*values, *unset)}
    for name in unset:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, before in touched.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before


@contextlib.contextmanager
def _moto() -> Iterator[None]:
    """moto's mocks, and a fresh default session: one made before may hold real credentials."""
    import boto3
    from moto import mock_aws

    session, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None
    mock = mock_aws(config={"core": {"mock_credentials": False, "reset_boto3_session": False}})
    mock.start()
    try:
        yield
    finally:
        mock.stop()
        boto3.DEFAULT_SESSION = session
