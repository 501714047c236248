"""Calls to a server that meet something on their way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply

Call = Literal["load", "invoke"]
Onward = Callable[[], ContractClient]
"""Who makes the calls: a server that was started again is elsewhere."""
Around = AbstractContextManager[Callable[[], object]]
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


class Passing(ContractClient):
    """Makes all calls as the client that *onward* gives."""

    def __init__(self, onward: Onward) -> None:
        self._onward = onward

    @property
    def url(self) -> str:  # type: ignore[override]  # nobody sets it
        """Where the server is now."""
        return self._onward().url

    def close(self) -> None:
        """The connections are another's."""

    def ask(self, *what: Any, **how: Any) -> Reply:
        """Any call."""
        return self._onward().ask(*what, **how)


class Armed(Passing):
    """With something *around* each call of one kind, for the models that it gives something for."""

    def __init__(self, onward: Onward, call: Call, around: Callable[[str], Around | None]) -> None:
        """*around*: takes a model's id; gives what wants to know when a request is on its way."""
        super().__init__(onward)
        self._call, self._around = call, around

    def load(self, identifier: str, url: str, *, timeout_s: float = routes.LOAD_TIMEOUT_S) -> Reply:
        """`POST /models`."""
        around = self._around(identifier) if self._call == "load" else None
        with around or contextlib.nullcontext():
            return super().load(identifier, url, timeout_s=timeout_s)

    def invoke(
        self,
        identifier: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = routes.INVOKE_TIMEOUT_S,
    ) -> Reply:
        """`POST /models/ID/invoke`."""
        around = self._around(identifier) if self._call == "invoke" else None
        if around is None:
            return super().invoke(identifier, body, headers, timeout_s=timeout_s)
        with around as sent:
            headers = {**(headers or _JSON), "Content-Length": str(len(body))}  # or else it would go in chunks
            return self.ask("POST", routes.invoke(identifier), _telling(body, sent), headers, timeout_s=timeout_s)


def _telling(body: bytes, sent: Callable[[], object]) -> Iterator[bytes]:
    """Whoever sends it asks for more when it has been sent."""
    yield body
    sent()


class Parted(Passing):
    """Makes the requests to some models by another client."""

    def __init__(self, onward: Onward, other: ContractClient, whose: Callable[[str], bool]) -> None:
        """*whose*: takes a model's id; whether its requests are made by the *other*."""
        super().__init__(onward)
        self._other, self._whose = other, whose

    def invoke(
        self,
        identifier: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = routes.INVOKE_TIMEOUT_S,
    ) -> Reply:
        """`POST /models/ID/invoke`."""
        asked = self._other.invoke if self._whose(identifier) else super().invoke
        return asked(identifier, body, headers, timeout_s=timeout_s)


class Unwell(Passing):
    """Sees `/ping` fail, however the server is."""

    def __init__(self, onward: Onward, status: int) -> None:
        super().__init__(onward)
        self._status = status

    def ping(self) -> Reply:
        """What a server answers that is not well."""
        return Reply(self._status, b"", {}, 0.0)
