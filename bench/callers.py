"""A client that is hardly there: connections of a bare asyncio protocol, each with one request under way."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from typing import Any

from bench.rig import BODY

MEASURED_S = 0.6
_WARM_UP_S = 0.2
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def answers_s(port: int, connections: int) -> list[float]:
    """How long each call took that began and ended in the measured time."""
    window = Window.from_now()
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(lambda: Caller(window), "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.gather(*(caller.done for caller in callers))
    return [seconds for caller in callers for seconds in caller.seconds]


@dataclasses.dataclass(frozen=True)
class Window:
    """When calls count."""

    opens: float
    closes: float

    @classmethod
    def from_now(cls) -> Window:
        """After the warm-up."""
        opens = time.perf_counter() + _WARM_UP_S
        return cls(opens, opens + MEASURED_S)


class Caller(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._request = b"POST /models/model/invoke HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        self._request += b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        self._received = b""
        self.seconds: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if _is_whole(self._received):
            self._answered(time.perf_counter())

    def _answered(self, now: float) -> None:
        if self._asked >= self._window.opens:
            self.seconds.append(now - self._asked)
        self._received = b""
        if now < self._window.closes:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() >= self._window.closes and error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error or ConnectionError("the front hung up"))


def _is_whole(answer: bytes) -> bool:
    """Whether it is all of an answer; RuntimeError when that is not 200."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        raise RuntimeError(f"not the answer that was asked for: {answer[:200]!r}")
    return len(body) == int(length[1])
