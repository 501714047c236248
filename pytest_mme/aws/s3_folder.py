"""A folder of a bucket that holds the archives of an endpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Folder:
    """`ModelDataUrl`: where an endpoint's archives lie."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, target: str) -> str:
        """The key of the archive that clients call *target*."""
        return self.prefix + target

    def put(self, target: str, archive: Path) -> None:
        """Upload an archive as *target*."""
        self.client.upload_file(str(archive), self.bucket, self.key(target))

    def remove(self, target: str) -> None:
        """Remove the archive *target*, if it is there."""
        self.client.delete_object(Bucket=self.bucket, Key=self.key(target))

    def download(self, target: str, file: Path) -> None:
        """Write the archive *target* to *file*; raises botocore's errors, and `OSError` when it cannot be written."""
        reply = self.client.get_object(Bucket=self.bucket, Key=self.key(target))
        with file.open("wb") as opened:
            shutil.copyfileobj(reply["Body"], opened)
