"""A client for the calls of the container contract, as the platform makes them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import urllib3

from pytest_mme.contract import routes
from pytest_mme.errors import ContractError, NoAnswerError


@dataclasses.dataclass(frozen=True)
class Reply:
    """The HTTP reply of a server."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def expect(self, call: str) -> Reply:
        """Return itself when `ok`; otherwise raise `ContractError`, which names the *call*."""
        if not self.ok:
            raise ContractError(call, self.status, self.text)
        return self

    @property
    def text(self) -> str:
        """The body as text, at most its first 2 000 characters."""
        return self.body[:2000].decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON; ValueError when it is not."""
        return json.loads(self.body)


class ContractClient:
    """A client of one server; safe from many threads. Statuses are returned, not raised; nothing is retried."""

    def __init__(self, url: str, *, connections: int = 64) -> None:
        self.url = url
        self._pool = urllib3.connection_from_url(url, maxsize=connections, retries=False)

    def ping(self) -> Reply:
        """`GET /ping`."""
        return self.ask("GET", routes.PING, timeout_s=routes.PING_TIMEOUT_S)

    def load(self, identifier: str, url: str, *, timeout_s: float = routes.LOAD_TIMEOUT_S) -> Reply:
        """`POST /models`: load the model whose files lie in the folder *url* under the id *identifier*."""
        body = json.dumps({"model_name": identifier, "url": url}).encode()
        return self.ask("POST", routes.MODELS, body, {"Content-Type": "application/json"}, timeout_s=timeout_s)

    def list(self, page: str | None = None, *, timeout_s: float = routes.INVOKE_TIMEOUT_S) -> Reply:
        """`GET /models`, the page that the token *page* leads to; the first one without a token."""
        return self.ask("GET", routes.MODELS + (f"?next_page_token={page}" if page else ""), timeout_s=timeout_s)

    def get(self, identifier: str, *, timeout_s: float = routes.INVOKE_TIMEOUT_S) -> Reply:
        """`GET /models/ID`."""
        return self.ask("GET", routes.model(identifier), timeout_s=timeout_s)

    def unload(self, identifier: str, *, timeout_s: float = routes.UNLOAD_TIMEOUT_S) -> Reply:
        """`DELETE /models/ID`."""
        return self.ask("DELETE", routes.model(identifier), timeout_s=timeout_s)

    def invoke(
        self,
        identifier: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = routes.INVOKE_TIMEOUT_S,
    ) -> Reply:
        """`POST /models/ID/invoke`; without *headers* the body is JSON."""
        headers = headers or {"Content-Type": "application/json", "Accept": "application/json"}
        return self.ask("POST", routes.invoke(identifier), body, headers, timeout_s=timeout_s)

    def memory(self) -> Reply:
        """`GET /pytest-mme/memory`, which only the embedded server has."""
        return self.ask("GET", routes.MEMORY)

    def mark(self, token: str) -> Reply:
        """`POST /pytest-mme/mark`, which only the embedded server has."""
        return self.ask("POST", routes.MARK, token.encode())

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = routes.INVOKE_TIMEOUT_S,
    ) -> Reply:
        """Make any call; raises `NoAnswerError` when there is no reply within *timeout_s* seconds."""
        start = time.perf_counter()
        try:
            response = self._pool.request(
                method, path, body=body, headers=headers, timeout=timeout_s, redirect=False, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # to urllib3 that is a timeout, too
            timed_out = isinstance(error, urllib3.exceptions.TimeoutError) and not refused
            raise NoAnswerError(f"{method} {self.url}{path}", time.perf_counter() - start, error, timed_out) from error
        return Reply(response.status, response.data, response.headers, time.perf_counter() - start)
