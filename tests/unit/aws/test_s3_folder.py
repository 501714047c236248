"""From S3 to disk, without S3: whatever goes wrong, nothing is left."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pytest_mme.aws.s3_folder import Fetched, S3Folder
from pytest_mme.aws.wire import WireError
from tests import hostile


class StoryS3:
    """Gives every object the same content, or raises."""

    def __init__(self, body: Callable[[], Any]) -> None:
        self._body = body

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"Body": self._body()}


def source(body: Callable[[], Any]) -> S3Folder:
    client: Any = StoryS3(body)
    return S3Folder(client, "bucket", "models/")


def test_an_archive_is_unpacked_and_not_kept(tmp_path: Path) -> None:
    content = hostile.tar_of(hostile.member("1/saved_model.pb"))
    fetched = source(lambda: io.BytesIO(content)).fetch("m.tar.gz", tmp_path / "id" / "model")
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
    ids=["missing", "no archive", "cut off"],
)
def test_whatever_goes_wrong_nothing_is_left(
    tmp_path: Path, body: Callable[[], Any], error: type[Exception], words: str
) -> None:
    for _ in range(2):
        with pytest.raises(error, match=words):
            source(body).fetch("m.tar.gz", tmp_path / "id" / "model")
        assert list(tmp_path.iterdir()) == []
