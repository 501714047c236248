"""Memory that gets tight, or runs out for one model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.base import Running

_MIB = 1024 * 1024
_LEFT_MIB = 512
"""More than a process may share with others and be held for, when the kernel chooses (TensorFlow's libraries: 0.3 GiB)."""
_PINGS = 3
"""So many answers after a request was sent the server has read that, too."""

Sent = Callable[[], object]
"""To be called when the request that is concerned has been sent."""
Shortage = Callable[[Running, str], AbstractContextManager[Sent]]
"""Takes a server and the id of a model."""


@contextlib.contextmanager
def limited(running: Running, leave_mib: float, *, at_most: bool = True) -> Iterator[int]:
    """A limit with *leave_mib* left, or, *at_most*, with as little as there was; gives it, in bytes."""
    limit = running.used_bytes() + int(leave_mib * _MIB)
    before = running.limit_memory(limit)
    try:
        if at_most and 0 < before < limit:
            running.limit_memory(before)
            limit = before
        yield limit
    finally:
        with contextlib.suppress(UnavailableError):  # it has ended meanwhile
            running.limit_memory(before)


@contextlib.contextmanager
def short(running: Running, identifier: str) -> Iterator[Sent]:
    """There is 1 MiB left."""
    del identifier
    with limited(running, 1):
        yield lambda: None


@contextlib.contextmanager
def exhausted(running: Running, identifier: str) -> Iterator[Sent]:
    """Memory runs out once a model's process, which is held back until then, has the request that was sent."""
    sent = threading.Event()
    try:
        running.signal(identifier, "STOP")
    except UnavailableError:  # it has died of the request before, and is not there yet again
        yield sent.set
        return
    with _going_on(running, identifier), limited(running, _LEFT_MIB, at_most=False):
        with ThreadPoolExecutor(1, "exhaust") as pool:
            killed = pool.submit(_exhaust, running, identifier, sent)
            try:
                yield sent.set
            finally:
                sent.set()
        killed.result()


def _exhaust(running: Running, identifier: str, sent: threading.Event) -> None:
    sent.wait()
    for _ in range(_PINGS):
        running.direct.ping()
    with _going_on(running, identifier):  # or else whoever asked would wait for it
        running.exhaust_memory(identifier, 2 * _LEFT_MIB)


@contextlib.contextmanager
def _going_on(running: Running, identifier: str) -> Iterator[None]:
    """A model's process is not held back any longer when something else fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(UnavailableError):  # it is dead
            running.signal(identifier, "CONT")
        raise


class OneAtATime:
    """A shortage for one request, or load, after the other: each changes the limit of all."""

    def __init__(self, running: Running, shortage: Shortage) -> None:
        self._running, self._shortage, self._lock = running, shortage, threading.Lock()

    @contextlib.contextmanager
    def __call__(self, identifier: str) -> Iterator[Sent]:
        """Around one of them."""
        with self._lock, self._shortage(self._running, identifier) as sent:
            yield sent
