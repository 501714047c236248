"""Memory that becomes scarce, or runs out for one model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.base import Controls, Running

_MIB = 1024 * 1024
_LEFT_MIB = 512
"""More than a process may share with others and be held for, when the kernel chooses (TensorFlow's libraries: 0.3 GiB)."""
_PINGS = 3
"""After so many replies to pings that were sent after a request, the server has read that request, too."""

Sent = Callable[[], object]
"""To be called when the request in question has been sent."""
Shortage = Callable[[Running, Controls, str], AbstractContextManager[Sent]]
"""Takes a server, its controls and the id of a model."""


@contextlib.contextmanager
def limited(running: Running, controls: Controls, leave_mib: float, *, at_most: bool = True) -> Iterator[int]:
    """Set a limit that leaves *leave_mib*, and restore the previous one at the end; gives the limit, in bytes.

    *at_most*: keep the previous limit where that is lower.
    """
    limit = running.used_bytes() + int(leave_mib * _MIB)
    before = controls.limit_memory(limit)
    try:
        if at_most and 0 < before < limit:
            controls.limit_memory(before)
            limit = before
        yield limit
    finally:
        with contextlib.suppress(UnavailableError):  # it has ended meanwhile
            controls.limit_memory(before)


@contextlib.contextmanager
def short(running: Running, controls: Controls, identifier: str) -> Iterator[Sent]:
    """Leave 1 MiB."""
    del identifier
    with limited(running, controls, 1):
        yield lambda: None


@contextlib.contextmanager
def exhausted(running: Running, controls: Controls, identifier: str) -> Iterator[Sent]:
    """Let memory run out once the process of a model, which is stopped until then, has received the request."""
    sent = threading.Event()
    try:
        controls.signal(identifier, "STOP")
    except UnavailableError:  # it died of the previous request, and has not been started again yet
        yield sent.set
        return
    with _continued_on_error(controls, identifier), limited(running, controls, _LEFT_MIB, at_most=False):
        with ThreadPoolExecutor(1, "exhaust") as pool:
            killed = pool.submit(_exhaust, running, controls, identifier, sent)
            try:
                yield sent.set
            finally:
                sent.set()
        killed.result()


def _exhaust(running: Running, controls: Controls, identifier: str, sent: threading.Event) -> None:
    sent.wait()
    for _ in range(_PINGS):
        running.direct.ping()
    with _continued_on_error(controls, identifier):  # or else the caller would wait for the stopped process
        controls.exhaust_memory(identifier, 2 * _LEFT_MIB)


@contextlib.contextmanager
def _continued_on_error(controls: Controls, identifier: str) -> Iterator[None]:
    """Let the stopped process of a model continue when something else fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(UnavailableError):  # it is dead
            controls.signal(identifier, "CONT")
        raise


class OneAtATime:
    """A shortage for one request, or load, after the other: each changes the limit that all share."""

    def __init__(self, running: Running, controls: Controls, shortage: Shortage) -> None:
        self._running, self._controls, self._shortage, self._lock = running, controls, shortage, threading.Lock()

    @contextlib.contextmanager
    def __call__(self, identifier: str) -> Iterator[Sent]:
        """Let memory run short around one of them."""
        with self._lock, self._shortage(self._running, self._controls, identifier) as sent:
            yield sent
