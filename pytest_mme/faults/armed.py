"""Calls to a server that meet something on their way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply

Call = Literal["load", "invoke"]
Onward = Callable[[], ContractClient]
"""Who makes the calls: a server that was started again is elsewhere."""


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

    def __init__(
        self, onward: Onward, call: Call, around: Callable[[str], AbstractContextManager[object] | None]
    ) -> None:
        """*around*: takes a model's id."""
        super().__init__(onward)
        self._call, self._around = call, around

    def load(self, identifier: str, url: str, *, timeout_s: float = routes.LOAD_TIMEOUT_S) -> Reply:
        """`POST /models`."""
        load = super().load
        return self._meet("load", identifier, lambda: load(identifier, url, timeout_s=timeout_s))

    def invoke(
        self,
        identifier: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = routes.INVOKE_TIMEOUT_S,
    ) -> Reply:
        """`POST /models/ID/invoke`."""
        invoke = super().invoke
        return self._meet("invoke", identifier, lambda: invoke(identifier, body, headers, timeout_s=timeout_s))

    def _meet(self, call: Call, identifier: str, ask: Callable[[], Reply]) -> Reply:
        around = self._around(identifier) if call == self._call else None
        with around or contextlib.nullcontext():
            return ask()


class Unwell(Passing):
    """Sees `/ping` fail, however the server is."""

    def __init__(self, onward: Onward, status: int) -> None:
        super().__init__(onward)
        self._status = status

    def ping(self) -> Reply:
        """What a server answers that is not well."""
        return Reply(self._status, b"", {}, 0.0)
