"""Calls that are limited in time and written down, and the shapes that their replies must have."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, NoReturn

from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.contract.dialects import json_object
from pytest_mme.errors import NoAnswerError, shown, why_unreachable

_SHOWN = 600  # characters of a body


class DeviationError(Exception):
    """The server does not do what a clause says."""


class NotJudgedError(Exception):
    """A clause cannot be judged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call and what came of it."""

    sent: str
    seen: str
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListPage:
    """One page of `GET /models`, in the contract's shape."""

    entries: list[Any]
    token: str | None


def page_of(reply: Reply) -> ListPage:
    """Read a page of the list; raises `DeviationError` when *reply* does not have the contract's shape."""
    if reply.status != 200:
        raise DeviationError(f"the reply to GET {routes.MODELS} is {reply.status}, not 200")
    page = object_of(reply)
    if not isinstance(entries := page.get("models"), list):
        raise DeviationError('the reply has no list `models`: expected {"models": […]}')
    token = page.get("nextPageToken")
    if token is not None and not (isinstance(token, str) and token):
        raise DeviationError(f"`nextPageToken` is {shown(token)}, not a string that is not empty")
    return ListPage(entries=entries, token=token)


def object_of(reply: Reply) -> dict[str, Any]:
    """Read the JSON object in the body of *reply*; raises `DeviationError` when the body is something else."""
    found = json_object(reply)
    if found is None:
        raise DeviationError("the body is not a JSON object")
    return found


def reply_within(limit_s: float, call: Callable[[], Reply]) -> Reply:
    """Make *call* and return its reply; raises `DeviationError` when the whole reply is not there within *limit_s*.

    The call has a thread of its own, since an HTTP client's limits hold for each piece of a reply only.
    """
    future: Future[Reply] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  raised where the call is waited for
            future.set_exception(error)

    threading.Thread(target=make, name="judged call", daemon=True).start()
    try:
        return future.result(limit_s)
    except FutureTimeoutError as error:
        _late(limit_s, error)
    except NoAnswerError as error:
        if error.timed_out:
            _late(limit_s, error)
        raise DeviationError(f"no reply: {why_unreachable(error.cause)}") from error


def _late(limit_s: float, error: Exception) -> NoReturn:
    raise DeviationError(f"no whole reply within {limit_s:g} s") from error


def beginning(body: bytes) -> str:
    """The beginning of a body as a terminal can show it."""
    return printable(body[: _SHOWN + 1].decode(errors="replace").strip())


def printable(text: str) -> str:
    """The text itself if a terminal can show it, quoted otherwise; cut where it is long."""
    if not text.isprintable():
        return shown(text, _SHOWN)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
