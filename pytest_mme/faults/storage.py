"""Faults of the storage: what boto3's client meets when it downloads an archive, and the disk that is to hold it."""

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
<Error><Code>{code}</Code><Message>Refused by the fault s3_failing of mme_faults.</Message><RequestId>pytest-mme</RequestId></Error>"""


class _Raw(io.BytesIO):
    """The body of a reply, as botocore reads it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


@contextlib.contextmanager
def slow(folder: S3Folder, latency_s: float) -> Iterator[None]:
    """Let each download from *folder* begin *latency_s* seconds later."""
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
    """Let S3 refuse the next *times* requests for archives in *folder*, or all; boto3 repeats some of them."""
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
    """Let each download from *folder* end half-way: the connection is cut before the announced length has arrived."""
    from botocore.response import StreamingBody

    def cut(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
        if _concerns(folder, http_response.url) and "Body" in parsed:
            whole = parsed["Body"].read()
            parsed["Body"] = StreamingBody(io.BytesIO(whole[: len(whole) // 2]), len(whole))

    with _hooked(folder, _AFTER, cut):
        yield


@contextlib.contextmanager
def full(disk: Disk) -> Iterator[None]:
    """Let each download to *disk* be written to a device that is always full."""
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
    """Whether *url* is that of an object in *folder*: all endpoints of a test share one client."""
    asked = urlsplit(url)
    bucket = "" if (asked.hostname or "").startswith(f"{folder.bucket}.") else f"/{folder.bucket}"
    return unquote(asked.path).startswith(f"{bucket}/{folder.prefix}")
