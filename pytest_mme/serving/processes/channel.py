"""The channel between the front and a worker: framed requests and replies, many at a time, over one Unix socket.

The socket is also the lifeline: each end notices at once that the other's process is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

_PREFIX = struct.Struct("!QII")  # number of the request, bytes of the head, bytes of the body
_MAX_BYTES = 1 << 30  # of a head or a body; a request's body has 6 MiB at most, and no client waits for a larger reply
_UNREAD_BYTES = 1 << 24  # above asyncio's 64 KiB, so that a reply of 5 MB is read without pauses
_JOINED_BYTES = 1 << 16  # up to this size, copying a body costs less than a second system call

Head = Mapping[str, Any]


class WorkerGoneError(Exception):
    """The worker's process ended before it replied."""


class Channel:
    """The front's end: `await request(head, body)` from any task.

    Asyncio's streams cost 0.02 to 0.04 ms a call more than a `BufferedProtocol` up to 100 kB (docs/facts.md).
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[tuple[Head, bytes]]] = {}
        self._gone = False
        self._reading = asyncio.create_task(self._read_all(reader))

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_UNREAD_BYTES))

    async def request(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        """Send a request and wait for its reply; raises `WorkerGoneError`."""
        if self._gone:
            raise WorkerGoneError
        number = next(self._numbers)
        reply: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            for part in _frame(number, head, body):
                self._writer.write(part)
            return await reply
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Hang up; the worker ends when it notices."""
        self._fail_all()
        self._writer.close()

    async def _read_all(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                number, head_size, body_size = _PREFIX.unpack(await reader.readexactly(_PREFIX.size))
                if max(head_size, body_size) > _MAX_BYTES:
                    return  # user code has written to our socket: whatever follows means nothing
                head = orjson.loads(await reader.readexactly(head_size))
                body = await reader.readexactly(body_size)
                if (reply := self._waiting.get(number)) and not reply.done():
                    reply.set_result((head, body))
        except (EOFError, OSError, orjson.JSONDecodeError):
            return  # the worker has ended, or user code has written to our socket
        finally:
            self._fail_all()
            self._writer.transport.abort()

    def _fail_all(self) -> None:
        self._gone = True
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(WorkerGoneError())


class ChannelServer:
    """The worker's end: reads requests one by one, replies from any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._stream = end.makefile("rb")
        self._socket = end
        self._lock = threading.Lock()

    def serve(self, handle: Callable[[int, Head, bytes], object]) -> None:
        """Call *handle* with the number, head and body of each request until the front hangs up."""
        while len(prefix := self._stream.read(_PREFIX.size)) == _PREFIX.size:
            number, head_size, body_size = _PREFIX.unpack(prefix)
            handle(number, orjson.loads(self._stream.read(head_size)), self._stream.read(body_size))

    def reply(self, number: int, head: Head, body: bytes = b"") -> None:
        """Reply to the request of that *number*."""
        parts = _frame(number, head, body)
        with self._lock:
            for part in parts:
                self._socket.sendall(part)


def _frame(number: int, head: Head, body: bytes) -> Sequence[bytes]:
    encoded = orjson.dumps(head)
    start = _PREFIX.pack(number, len(encoded), len(body)) + encoded
    return [start, body] if len(body) > _JOINED_BYTES else [start + body]
