"""Calls that a judge makes: limited in time and written down; and what their answers must look like."""

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
from pytest_mme.errors import NoAnswerError, shown

_SHOWN = 600  # characters of a body


class DeviationError(Exception):
    """The server does not do what a clause says."""


class NotJudgedError(Exception):
    """Nothing can be said about a clause."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """One call and what came of it."""

    sent: str
    seen: str
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawfulPage:
    """One page of `GET /models`, as the contract has it."""

    entries: list[Any]
    token: str | None


def page_of(reply: Reply) -> LawfulPage:
    """A page of the list; raises `DeviationError` when it is none."""
    if reply.status != 200:
        raise DeviationError(f"GET {routes.MODELS} was answered {reply.status}, not 200")
    page = object_of(reply)
    if not isinstance(entries := page.get("models"), list):
        raise DeviationError('`models`, a list, is missing in the answer: expected {"models": […]}')
    token = page.get("nextPageToken")
    if token is not None and not (isinstance(token, str) and token):
        raise DeviationError(f"`nextPageToken` is {shown(token)}, not a string with something in it")
    return LawfulPage(entries=entries, token=token)


def object_of(reply: Reply) -> dict[str, Any]:
    """The body of a reply, a JSON object; raises `DeviationError` when it is none."""
    found = json_object(reply)
    if found is None:
        raise DeviationError("the body is no JSON object")
    return found


def answered(call: Callable[[], Reply], limit_s: float) -> Reply:
    """The answer of *call*, in a thread of its own: an HTTP client's limits hold for each piece of an answer only."""
    future: Future[Reply] = Future()

    def make() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  whoever waits must hear of it
            future.set_exception(error)

    threading.Thread(target=make, name="judged call", daemon=True).start()
    try:
        return future.result(limit_s)
    except FutureTimeoutError as error:
        _late(limit_s, error)
    except NoAnswerError as error:
        if error.timed_out:
            _late(limit_s, error)
        raise DeviationError(f"no answer: {str(error.cause).rpartition('>: ')[2]}") from error


def _late(limit_s: float, error: Exception) -> NoReturn:
    raise DeviationError(f"no whole answer within {limit_s:g} s") from error


def words(body: bytes) -> str:
    """The beginning of a body as a terminal can show it."""
    return plain(body[: _SHOWN + 1].decode(errors="replace").strip())


def plain(text: str) -> str:
    """As it is, if a terminal can show it; quoted otherwise. At most so long that it helps."""
    if not text.isprintable():
        return shown(text, _SHOWN)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
