"""S3 to disk."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.archives.archive import checksum, extract
from pytest_mme.aws import wire
from pytest_mme.errors import ArchiveError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """An archive that was downloaded."""

    bytes: int
    checksum: str
    """`models.archive.checksum`."""


class S3Folder:
    """`ModelDataUrl`: where an endpoint's archives lie."""

    disk: Path | None = None
    """What downloads are written to instead of the instance's disk: a fault sets it to a device that is full."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}"

    def put(self, target: str, archive: Path) -> None:
        """Upload an archive as *target*."""
        self.client.upload_file(str(archive), self.bucket, self.prefix + target)

    def fetch(self, target: str, folder: Path) -> Fetched:
        """Download the archive *target* and unpack it into the new *folder*, in a new folder of its own.

        Raises `WireError` when there is none, it is no archive that may be unpacked, or the disk is full; then nothing
        is left.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key = self.prefix + target
        with contextlib.ExitStack() as undo:
            folder.parent.mkdir()
            undo.callback(shutil.rmtree, folder.parent)
            try:
                fetched = self._fetch(key, folder)
            except (BotoCoreError, ClientError) as error:
                raise wire.download_failed(self.bucket, key) from error
            except ArchiveError as error:
                raise wire.extract_failed(self.bucket, key, error.seen) from error
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise wire.disk_full(self.bucket, key) from error
            undo.pop_all()
        return fetched

    def _fetch(self, key: str, folder: Path) -> Fetched:
        archive = folder.with_name(f"{folder.name}.tar.gz")
        reply = self.client.get_object(Bucket=self.bucket, Key=key)
        with (self.disk or archive).open("wb") as file:
            shutil.copyfileobj(reply["Body"], file)
        fetched = Fetched(bytes=archive.stat().st_size, checksum=checksum(archive))
        extract(archive, folder)
        archive.unlink()
        return fetched
