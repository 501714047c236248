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
    """Return the first result of *probe* that is not None.

    An `OSError` of the probe counts as None. Raises `NotReadyError` when *gone* gives a reason why there will be no
    result any more, or after *timeout_s* seconds; the error has what was seen last.
    """
    start = clock()
    while True:
        try:
            result = probe()
            seen = "not what was waited for"
        except OSError as error:
            result, seen = None, f"{type(error).__name__}: {error}"
        if result is not None:
            return result
        waited_s = clock() - start
        if reason := gone():
            raise NotReadyError(what, waited_s, seen, because=reason)
        if waited_s >= timeout_s:
            raise NotReadyError(what, waited_s, seen, because=f"the limit is {timeout_s:g} s")
        sleep(every_s)
