"""The one waiting loop; `time.sleep` is called nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pytest_mme.errors import NotReadyError

T = TypeVar("T")


def wait_for(
    probe: Callable[[], T | None],
    *,
    what: str,
    timeout_s: float,
    every_s: float = 0.02,
    gone: Callable[[], str | None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return the first answer of *probe* that is not None.

    An `OSError` of the probe counts as no answer yet. Raises `NotReadyError` when *gone* gives a reason why there will
    be no answer any more, or after *timeout_s* seconds; both say the last thing that was seen.
    """
    start = clock()
    while True:
        try:
            answer = probe()
            seen = "an answer, but not the one waited for"
        except OSError as error:
            answer, seen = None, f"{type(error).__name__}: {error}"
        if answer is not None:
            return answer
        waited_s = clock() - start
        if reason := gone():
            raise NotReadyError(what, waited_s, seen, because=reason)
        if waited_s >= timeout_s:
            raise NotReadyError(what, waited_s, seen, because=f"the limit is {timeout_s:g} s")
        sleep(every_s)
