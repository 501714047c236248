"""Soft checks: with ``soft=True`` a failure is collected, and reported with the others at the end of the test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_collected: ContextVar[list[AssertionError] | None] = ContextVar("collected", default=None)


@contextlib.contextmanager
def soft_checks() -> Iterator[list[AssertionError]]:
    """Collect the failures of soft checks in the block; gives the list. The plugin runs each test in such a block."""
    found: list[AssertionError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextlib.contextmanager
def softly(soft: bool) -> Iterator[None]:
    """Collect the failure of a soft check; raises RuntimeError outside of `soft_checks` and of tests."""
    found = _collected.get()
    if soft and found is None:
        raise RuntimeError(
            "soft=True: nothing collects failures here; use it in a test, or in `with soft_checks() as found:`"
        )
    try:
        yield
    except AssertionError as error:
        if not soft or found is None:
            raise
        found.append(error)
