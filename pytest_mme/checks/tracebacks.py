"""Where the traceback of a failing check ends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def fails_at_the_call(check: Callable[P, None]) -> Callable[P, None]:
    """Let a check fail at the line that called it: how it judges is not what its caller has to read."""

    @functools.wraps(check)
    def judge(*arguments: P.args, **options: P.kwargs) -> None:
        __tracebackhide__ = True
        try:
            check(*arguments, **options)
        except AssertionError as error:
            raise error.with_traceback(None) from None

    return judge
