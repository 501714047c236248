"""How the front and a worker talk: framed requests and replies, many at a time, over one Unix socket.

The socket is also the lifeline: each end learns at once that the other's process is gone.
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
_MOST_BYTES = 1 << 30  # of a head or a body; a request has 6 MiB, and nobody waits for such an answer
_ROOM_BYTES = 1 << 16  # for what a socket gives at once; a larger reply gets room of its own

Head = Mapping[str, Any]


class WorkerGoneError(Exception):
    """The worker's process ended before it answered."""


class FrontEnd(asyncio.BufferedProtocol):
    """The front's end: `await ask(head, body)` from any task.

    A protocol and not asyncio's streams: those cost 0.03 ms more for a small call, and twice as much for 5 MB.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[tuple[Head, bytes]]] = {}
        self._gone = False
        self._received, self._count = bytearray(_ROOM_BYTES), 0  # replies that are not whole yet; bytes that are there

    @classmethod
    async def over(cls, end: socket.socket) -> FrontEnd:
        """Take over one end of a socket pair."""
        _, front = await asyncio.get_running_loop().create_unix_connection(cls, sock=end)
        return front

    async def ask(self, head: Head, body: bytes = b"") -> tuple[Head, bytes]:
        """Send a request and wait for its reply; raises `WorkerGoneError`."""
        if self._gone:
            raise WorkerGoneError
        number = next(self._numbers)
        reply: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            for part in _frame(number, head, body):
                self._transport.write(part)
            return await reply
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Hang up; the worker ends when it notices."""
        self._fail_all()
        self._transport.close()

    def _fail_all(self) -> None:
        self._gone = True
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(WorkerGoneError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """To asyncio: this end is open."""
        self._transport: Any = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """To asyncio: either end is closed."""
        self._fail_all()

    def get_buffer(self, _size: int) -> memoryview:
        """To asyncio: where the next bytes go."""
        return memoryview(self._received)[self._count :]

    def buffer_updated(self, count: int) -> None:
        """To asyncio: so many bytes came. Hands over the replies that are whole."""
        self._count += count
        try:
            self._take_all()
        except ValueError:  # user code has written to what is ours: nothing that comes after means anything
            self._transport.abort()

    def _take_all(self) -> None:
        start = 0
        while self._count - start >= (size := self._size_at(start)):
            self._take(memoryview(self._received)[start : start + size])
            start += size
        if start or size > len(self._received):
            rest = self._received[start : self._count]
            if len(self._received) != max(size, _ROOM_BYTES):
                self._received = bytearray(max(size, _ROOM_BYTES))
            self._received[: len(rest)] = rest
            self._count = len(rest)

    def _size_at(self, start: int) -> int:
        """The bytes of the frame that begins there: of its prefix alone as long as that is not whole."""
        if self._count - start < _PREFIX.size:
            return _PREFIX.size
        _, head_size, body_size = _PREFIX.unpack_from(self._received, start)
        if max(head_size, body_size) > _MOST_BYTES:
            raise ValueError(f"a frame of {head_size} and {body_size} bytes")
        return _PREFIX.size + int(head_size) + int(body_size)

    def _take(self, frame: memoryview) -> None:
        number, head_size, _ = _PREFIX.unpack_from(frame)
        if (waiting := self._waiting.get(number)) and not waiting.done():
            body_at = _PREFIX.size + head_size
            waiting.set_result((orjson.loads(frame[_PREFIX.size : body_at]), bytes(frame[body_at:])))


class WorkerEnd:
    """The worker's end: reads requests one by one, replies from any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._stream = end.makefile("rb")
        self._socket = end
        self._lock = threading.Lock()

    def serve(self, take: Callable[[int, Head, bytes], object]) -> None:
        """Call *take* with each request until the front hangs up."""
        while len(prefix := self._stream.read(_PREFIX.size)) == _PREFIX.size:
            number, head_size, body_size = _PREFIX.unpack(prefix)
            take(number, orjson.loads(self._stream.read(head_size)), self._stream.read(body_size))

    def reply(self, number: int, head: Head, body: bytes = b"") -> None:
        """Answer the request of that *number*."""
        parts = _frame(number, head, body)
        with self._lock:
            for part in parts:
                self._socket.sendall(part)


def _frame(number: int, head: Head, body: bytes) -> Sequence[bytes]:
    """What to send, in one piece if it is small: a second call costs less than a copy of a large body."""
    encoded = orjson.dumps(head)
    start = _PREFIX.pack(number, len(encoded), len(body)) + encoded
    return [start, body] if len(body) > _ROOM_BYTES else [start + body]
