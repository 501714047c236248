"""Faults of the storage, on boto3's events: whose requests they concern, how many of them, and that all ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.hooks import HierarchicalEmitter
from botocore.response import StreamingBody

from pytest_mme.faults import storage
from pytest_mme.faults.faults import Faults
from tests.unit.faults.victim import Victim

OURS, OTHERS = "https://bucket.s3.amazonaws.com/mine/a.tar.gz", "https://bucket.s3.amazonaws.com/other/a.tar.gz"


@pytest.fixture
def folder() -> Any:
    """The folder ``mine/`` of the bucket ``bucket``."""
    client = SimpleNamespace(meta=SimpleNamespace(events=HierarchicalEmitter()))
    return SimpleNamespace(client=client, bucket="bucket", prefix="mine/")


def before_send(folder: Any, url: str = OURS) -> Any:
    """Ask for an object; the reply that comes instead of S3's."""
    request = SimpleNamespace(url=url)
    return folder.client.meta.events.emit_until_response("before-send.s3.GetObject", request=request)[1]


def after_call(folder: Any, content: bytes, url: str = OURS) -> dict[str, Any]:
    """Let S3 reply; what boto3 makes of it."""
    parsed = {"Body": StreamingBody(BytesIO(content), len(content))}
    reply = SimpleNamespace(url=url)
    folder.client.meta.events.emit("after-call.s3.GetObject", http_response=reply, parsed=parsed)
    return parsed


@pytest.mark.parametrize(
    ("url", "concerned"),
    [
        (OURS, True),
        ("https://bucket.s3.amazonaws.com/mine/a%20b.tar.gz", True),
        ("http://127.0.0.1:5000/bucket/mine/a.tar.gz", True),
        (OTHERS, False),
        ("https://other.s3.amazonaws.com/mine/a.tar.gz", False),
        ("http://127.0.0.1:5000/other/mine/a.tar.gz", False),
        ("http://127.0.0.1:5000/bucket/other/a.tar.gz", False),
        ("https://bucket.s3.amazonaws.com/bucket/mine/a.tar.gz", False),
        ("/bucket/mine/a.tar.gz", True),
    ],
)
def test_a_fault_concerns_the_objects_of_its_folder(folder: Any, url: str, concerned: bool) -> None:
    with storage.failing(folder, status=503, code="SlowDown", times=None):
        assert (before_send(folder, url) is not None) is concerned
    assert before_send(folder, url) is None


@pytest.mark.parametrize(("times", "statuses"), [(None, [403] * 4), (2, [403, 403, None, None]), (0, [None] * 4)])
def test_so_many_requests_are_refused(folder: Any, times: int | None, statuses: list[int | None]) -> None:
    with storage.failing(folder, status=403, code="AccessDenied", times=times):
        assert before_send(folder, OTHERS) is None
        replies = [before_send(folder) for _ in statuses]
    assert [reply and reply.status_code for reply in replies] == statuses
    for reply in filter(None, replies):
        assert b"<Code>AccessDenied</Code>" in reply.content
        assert reply.headers["Content-Type"] == "application/xml"


@pytest.mark.parametrize(("content", "half"), [(b"abcdef", b"abc"), (b"abcde", b"ab")])
def test_a_download_ends_half_way(folder: Any, content: bytes, half: bytes) -> None:
    with storage.truncated(folder):
        body = after_call(folder, content)["Body"]
        assert body.read(len(half)) == half
        with pytest.raises(Exception, match=f"{len(half)} read, but total bytes expected is {len(content)}"):
            body.read()
        assert after_call(folder, content, OTHERS)["Body"].read() == content
        folder.client.meta.events.emit(
            "after-call.s3.GetObject", http_response=SimpleNamespace(url=OURS), parsed={"Error": {}}
        )
    assert after_call(folder, content)["Body"].read() == content


def test_a_download_begins_later(folder: Any) -> None:
    began_s = time.monotonic()
    with storage.slow(folder, 0.05):
        assert before_send(folder) is None
        assert time.monotonic() - began_s >= 0.05
    with storage.slow(folder, 1000):
        before_send(folder, OTHERS)
    before_send(folder)


def test_downloads_that_wait_go_on_when_the_fault_ends(folder: Any) -> None:
    waiting = threading.Thread(target=before_send, args=(folder,), daemon=True)
    with contextlib.suppress(ZeroDivisionError), storage.slow(folder, 1000):
        waiting.start()
        _ = 1 / 0
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    "fault",
    [
        lambda folder: storage.failing(folder, status=503, code="SlowDown", times=None),
        storage.truncated,
        lambda folder: storage.slow(folder, 1000),
    ],
    ids=["failing", "truncated", "slow"],
)
def test_a_fault_ends_with_an_error_of_its_block(
    folder: Any, fault: Callable[[Any], AbstractContextManager[None]]
) -> None:
    with contextlib.suppress(ZeroDivisionError), fault(folder):
        _ = 1 / 0
    assert before_send(folder) is None
    assert after_call(folder, b"ab")["Body"].read() == b"ab"


@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        (lambda on: on.s3_failing(), "S3 failing", {"status": 503, "code": "SlowDown", "times": None}),
        (
            lambda on: on.s3_failing(status=403, code="AccessDenied", times=2),
            *("S3 failing", {"status": 403, "code": "AccessDenied", "times": 2}),
        ),
        (lambda on: on.s3_slow(latency_s=0.05), "S3 slow", {"latency_s": 0.05}),
        (lambda on: on.s3_truncated(), "S3 truncated", {}),
        (lambda on: on.disk_full(), "disk full", {}),
    ],
)
def test_the_storage_of_an_endpoint_fails(
    folder: Any, fault: Callable[[Faults], AbstractContextManager[None]], outcome: str, detail: dict[str, Any]
) -> None:
    victim = Victim()
    victim.platform = SimpleNamespace(archives=folder, disk=SimpleNamespace(device=None))
    began_s = time.monotonic()
    with fault(Faults(victim)):
        refused = before_send(folder)
        assert (refused and refused.status_code) == detail.get("status")
        assert time.monotonic() - began_s >= detail.get("latency_s", 0)
        body = after_call(folder, b"abcd")["Body"]
        assert body.read(2) == b"ab"
        if outcome == "S3 truncated":
            with pytest.raises(Exception, match="2 read, but total bytes expected is 4"):
                body.read()
        assert (victim.platform.disk.device is not None) is (outcome == "disk full")
    (event,) = victim.faults
    assert (event.outcome, {**event.detail, "call": None}) == (outcome, {**detail, "call": None})


def test_a_disk_is_full_until_the_end() -> None:
    disk: Any = SimpleNamespace(device=None)
    with contextlib.suppress(ZeroDivisionError), storage.full(disk):
        assert disk.device == Path("/dev/full")
        _ = 1 / 0
    assert disk.device is None
