"""Trouble with archives: what boto3's client meets when it downloads one, and the disk that is to hold it."""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pytest_mme.aws.s3_folder import S3Folder
    from pytest_mme.hosting.disk import Disk

_BEFORE, _AFTER = "before-send.s3.GetObject", "after-call.s3.GetObject"
_REFUSAL = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>The fault mme_faults says so.</Message><RequestId>pytest-mme</RequestId></Error>"""


class _Raw(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


@contextlib.contextmanager
def slow(folder: S3Folder, latency_s: float) -> Iterator[None]:
    """Each download of *folder* begins that much later."""
    over = threading.Event()

    def wait(request: Any, **_: object) -> None:
        if _concerns(folder, request.url):
            over.wait(latency_s)

    with _hooked(folder, _BEFORE, wait):
        try:
            yield
        finally:
            over.set()


@contextlib.contextmanager
def failing(folder: S3Folder, *, status: int, code: str, times: int | None) -> Iterator[None]:
    """S3 answers so to the next *times* requests for archives of *folder*, or to all; boto3 tries some again."""
    from botocore.awsrequest import AWSResponse, HeadersDict

    left = iter(itertools.count() if times is None else range(times))

    def refuse(request: Any, **_: object) -> Any:
        if not _concerns(folder, request.url) or next(left, None) is None:
            return None
        body = _Raw(_REFUSAL.format(code=code).encode())
        headers: Any = HeadersDict({"Content-Type": "application/xml"})  # the stubs name another class than botocore's
        return AWSResponse(request.url, status, headers, body)

    with _hooked(folder, _BEFORE, refuse):
        yield


@contextlib.contextmanager
def truncated(folder: S3Folder) -> Iterator[None]:
    """Each download of *folder* ends half-way: the connection is gone before all that was promised has come."""
    from botocore.response import StreamingBody

    def cut(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
        if _concerns(folder, http_response.url) and "Body" in parsed:
            whole = parsed["Body"].read()
            parsed["Body"] = StreamingBody(io.BytesIO(whole[: len(whole) // 2]), len(whole))

    with _hooked(folder, _AFTER, cut):
        yield


@contextlib.contextmanager
def full(disk: Disk) -> Iterator[None]:
    """Each download to *disk* is written to a device that is always full."""
    disk.device = Path("/dev/full")
    try:
        yield
    finally:
        disk.device = None


@contextlib.contextmanager
def _hooked(folder: S3Folder, event: str, hook: Callable[..., Any]) -> Iterator[None]:
    events = folder.client.meta.events
    events.register_first(event, hook)
    try:
        yield
    finally:
        events.unregister(event, hook)


def _concerns(folder: S3Folder, url: str) -> bool:
    """Whether *url* is that of an object in *folder*: the client is that of all endpoints of a test."""
    asked = urlsplit(url)
    path = unquote(asked.path)
    key = path if (asked.hostname or "").startswith(f"{folder.bucket}.") else path.removeprefix(f"/{folder.bucket}")
    return key.startswith(f"/{folder.prefix}")
