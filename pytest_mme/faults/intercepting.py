"""Intercepts calls to a server: several faults at once, begun and ended in any order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.runtimes.base import Running

NextClient = Callable[[], ContractClient]
"""Returns the client that takes a call next. Asked anew for each call: a server that was started again is elsewhere."""
Call = Literal["load", "invoke"]
Around = AbstractContextManager[Callable[[], object]]
"""Entered before a call and left after its reply; what it gives is called once the request was sent."""

_CHANGING = threading.Lock()
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


class Interception:
    """One fault's place in the chain of a server's interceptors."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._client: ContractClient | None = None

    def next_client(self) -> ContractClient:
        """The interceptor that was added before this one, or else the server's own client."""
        others = self._running.interceptors
        before = others[: others.index(self._client)] if self._client in others else ()
        return before[-1] if before else self._running.direct

    @contextlib.contextmanager
    def by(self, client: ContractClient) -> Iterator[None]:
        """Let *client* make the calls that begin inside the block."""
        running, self._client = self._running, client
        with _CHANGING:
            running.interceptors = (*running.interceptors, client)
        try:
            yield
        finally:
            with _CHANGING:
                running.interceptors = tuple(one for one in running.interceptors if one is not client)


class Forwarding(ContractClient):
    """Forwards every call to the next client."""

    def __init__(self, next_client: NextClient) -> None:
        self._next_client = next_client

    @property
    def url(self) -> str:  # type: ignore[override]  # nobody sets it
        """Where the server is now."""
        return self._next_client().url

    def close(self) -> None:
        """Do nothing: the connections belong to the next client."""

    def ask(self, *arguments: Any, **options: Any) -> Reply:
        """Forward any call."""
        return self._next_client().ask(*arguments, **options)


class Surrounding(Forwarding):
    """Puts something around each call of one kind, for chosen models."""

    def __init__(self, next_client: NextClient, call: Call, around: Callable[[str], Around | None]) -> None:
        """*around* takes a model's id, and returns what to put around a call for it; None for nothing."""
        super().__init__(next_client)
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
            return self.ask("POST", routes.invoke(identifier), _notifying(body, sent), headers, timeout_s=timeout_s)


def _notifying(body: bytes, sent: Callable[[], object]) -> Iterator[bytes]:
    """The body; the HTTP client asks for more once it has sent it, and *sent* is called then."""
    yield body
    sent()


class Diverting(Forwarding):
    """Makes the requests to chosen models by another client."""

    def __init__(self, next_client: NextClient, other: ContractClient, is_chosen: Callable[[str], bool]) -> None:
        """*is_chosen* takes a model's id, and returns whether the *other* client makes its requests."""
        super().__init__(next_client)
        self._other, self._is_chosen = other, is_chosen

    def invoke(self, identifier: str, *arguments: Any, **options: Any) -> Reply:
        """`POST /models/ID/invoke`."""
        invoke = self._other.invoke if self._is_chosen(identifier) else super().invoke
        return invoke(identifier, *arguments, **options)


class PingFailing(Forwarding):
    """Lets `/ping` fail, whatever state the server is in."""

    def __init__(self, next_client: NextClient, status: int) -> None:
        super().__init__(next_client)
        self._status = status

    def ping(self) -> Reply:
        """The reply of an unhealthy server."""
        return Reply(self._status, b"", {}, 0.0)
