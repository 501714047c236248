"""A worker's side of the channel, called in this process."""

from __future__ import annotations

import socket

import orjson
import pytest

from pytest_mme.libtensorflow.capi import Library
from pytest_mme.serving.processes.child_config import ChildConfig
from pytest_mme.serving.processes.worker import Worker


def test_a_reply_that_cannot_be_sent_becomes_an_error(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(ChildConfig(token=0), ours, library)
        monkeypatch.setattr(worker, "_do", lambda *_: ({"bytes": 1 << 70}, b""))
        worker._handle(1, {"operation": "estimate"}, b"")
        theirs.settimeout(10)
        head = orjson.loads(theirs.recv(4096)[16:])
    assert head["code"] == "INTERNAL"
    assert "cannot be sent: Integer exceeds 64-bit range" in head["error"]
