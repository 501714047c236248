"""moto, which stands in for S3, SageMaker and CloudWatch: the only module that touches it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def mocked() -> Iterator[None]:
    """Start moto's mocks, with a fresh default session of boto3: one made before may hold real credentials."""
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
