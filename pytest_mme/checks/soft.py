"""Checks that go on: with ``soft=True`` what they find is collected, and said together at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_collected: ContextVar[list[AssertionError] | None] = ContextVar("collected", default=None)


@contextlib.contextmanager
def soft_checks() -> Iterator[list[AssertionError]]:
    """A time in which checks may be soft; gives what they found. Tests with the plugin are in one, and fail at its end."""
    found: list[AssertionError] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextlib.contextmanager
def softly(soft: bool) -> Iterator[None]:
    """Collects what a soft check finds; RuntimeError where nobody does."""
    found = _collected.get()
    if soft and found is None:
        raise RuntimeError("soft=True: nobody collects here; use it in a test, or in `with soft_checks() as found:`")
    try:
        yield
    except AssertionError as error:
        if not soft or found is None:
            raise
        found.append(error)
