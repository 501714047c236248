"""HTTP as no client library would write it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

ANSWER_S = 30.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def refusal(self) -> str:
        """The text in the one form that every refusal has."""
        assert self.headers["Content-Type"] == "application/json"
        refused = self.json()
        assert list(refused) == ["error"]
        return str(refused["error"])


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """A connection to the server at *url*."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ANSWER_S) as connection:
        yield connection


def request(method: str, path: str, *headers: bytes, body: bytes | None = b"", version: str = "1.1") -> bytes:
    """A request as bytes; its headers end with the length of the body, unless that is None."""
    lines = [f"{method} {path} HTTP/{version}".encode(), b"Host: localhost", *headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((*lines, b"", body or b""))


def chunked(*chunks: bytes) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def ask(url: str, message: bytes, method: str = "POST") -> Answer:
    """The answer to a request that is sent as it is."""
    with connected(url) as connection:
        connection.sendall(message)
        return answer(connection, method)


def answer(connection: socket.socket, method: str = "POST") -> Answer:
    """The answer that comes, to a request by that *method*."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        return Answer(response.status, dict(response.getheaders()), response.read())


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    with connection.makefile("rb") as stream:
        return stream.read()
