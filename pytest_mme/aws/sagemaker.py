"""SageMaker's control plane: what describes an endpoint to clients, kept by moto."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_mme.aws import wire

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_ROLE = f"arn:aws:iam::{wire.ACCOUNT}:role/pytest-mme"
_IMAGE = f"{wire.ACCOUNT}.dkr.ecr.{wire.REGION}.amazonaws.com/pytest-mme:latest"


@contextlib.contextmanager
def multi_model_endpoint(sagemaker: SageMakerClient, name: str, url: str) -> Iterator[None]:
    """Create a model (`Mode=MultiModel`), an endpoint config and an endpoint of one *name*; delete them at the end.

    *url*: where the archives lie, the model's `ModelDataUrl`.
    """
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
        yield
