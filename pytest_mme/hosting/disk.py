"""The disk of an instance: archives from S3, each unpacked in a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import shutil
from pathlib import Path

from pytest_mme.archives.archive import checksum, extract
from pytest_mme.aws import wire
from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.errors import ArchiveError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """An archive that was downloaded and unpacked."""

    bytes: int
    """The size of the archive."""
    checksum: str
    """`archives.archive.checksum`."""


class Disk:
    """Where an instance keeps its models."""

    device: Path | None = None
    """The file that downloads are written to instead of one on this disk: a fault sets it to a device that is full."""

    def __init__(self, models: Path, archives: S3Folder) -> None:
        """*models*: the folder of all models. *archives*: where they are downloaded from."""
        self._models, self._archives = models, archives

    def folder(self, identifier: str) -> Path:
        """Where the files of the model lie that the container knows by *identifier*."""
        return self._models / identifier / "model"

    def fetch(self, target: str, identifier: str) -> Fetched:
        """Download the archive *target* and unpack it into the folder of *identifier*, which must not be there yet.

        Raises `WireError` when there is no such archive, it may not be unpacked, or the disk is full; then nothing
        is left on the disk.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        folder = self.folder(identifier)
        bucket, key = self._archives.bucket, self._archives.key(target)
        with contextlib.ExitStack() as undo:
            folder.parent.mkdir()
            undo.callback(shutil.rmtree, folder.parent)
            try:
                archive = folder.with_name(f"{folder.name}.tar.gz")
                self._archives.download(target, self.device or archive)
                fetched = Fetched(bytes=archive.stat().st_size, checksum=checksum(archive))
                extract(archive, folder)
                archive.unlink()
            except (BotoCoreError, ClientError) as error:
                raise wire.download_failed(bucket, key) from error
            except ArchiveError as error:
                raise wire.extract_failed(bucket, key, error.seen) from error
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise wire.disk_full(bucket, key) from error
            undo.pop_all()
        return fetched
