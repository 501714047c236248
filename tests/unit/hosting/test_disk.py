"""Archives on their way to an instance's disk, without S3: whatever goes wrong, nothing is left."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pytest_mme.aws.s3_folder import S3Folder
from pytest_mme.aws.wire import WireError
from pytest_mme.hosting.disk import Disk, Fetched
from tests import hostile


class FakeS3:
    """Gives every object the same content, or raises."""

    def __init__(self, body: Callable[[], Any]) -> None:
        self._body = body

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": self._body()}


def disk(models: Path, body: Callable[[], Any]) -> Disk:
    client: Any = FakeS3(body)
    return Disk(models, S3Folder(client, "bucket", "models/"))


def test_an_archive_is_unpacked_and_not_kept(tmp_path: Path) -> None:
    content = hostile.tar_of(hostile.member("1/saved_model.pb"))
    fetched = disk(tmp_path, lambda: io.BytesIO(content)).fetch("m.tar.gz", "id")
    assert fetched == Fetched(bytes=len(content), checksum=content[-8:].hex())
    assert [path.name for path in (tmp_path / "id").iterdir()] == ["model"]
    assert (tmp_path / "id/model/1/saved_model.pb").is_file()


def missing() -> None:
    raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "gone"}}, "GetObject")


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionResetError("cut off")


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (missing, WireError, r"Failed to download model data \(bucket: bucket, key: models/m.tar.gz\)"),
        (
            lambda: io.BytesIO(b"odd"),
            WireError,
            r"Failed to extract model data archive \(bucket: bucket, key: models/m.tar.gz\): it is not a whole gzipped tar",
        ),
        (Broken, ConnectionResetError, "cut off"),
    ],
    ids=["missing", "not an archive", "cut off"],
)
def test_a_download_that_fails_leaves_nothing_and_may_be_tried_again(
    tmp_path: Path, body: Callable[[], Any], error: type[Exception], words: str
) -> None:
    for _ in range(2):
        with pytest.raises(error, match=words):
            disk(tmp_path, body).fetch("m.tar.gz", "id")
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_refuses_the_download_and_keeps_nothing(tmp_path: Path) -> None:
    full = disk(tmp_path, lambda: io.BytesIO(b"x" * 10_000))
    full.device = Path("/dev/full")
    with pytest.raises(WireError, match=r"archive is too large .*no space left on device"):
        full.fetch("m.tar.gz", "id")
    assert list(tmp_path.iterdir()) == []
