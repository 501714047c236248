"""A server that many bad requests are sent to, and what has to be as before after each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from pytest_mme import Model, Server
from tests.local.conftest import process_of

ECHO = """
def handler(data, context):
    return data.read(), "echo/" + context.accept_header
"""


class Front:
    """A running server, and two models on it: one without and one with user's code."""

    def __init__(self, server: Server, plain: Model, echo: Model) -> None:
        self.server, self._plain = server, plain
        self.url = server.client.url
        self.plain, self.echo = server.load(plain), server.load(echo)
        self.folder = server.get(plain)["modelUrl"]
        self._process = process_of(server)
        self._children = self._now()

    def _now(self) -> set[psutil.Process]:
        return set(self._process.children(recursive=True))

    def clean(self) -> None:
        """Unload everything else."""
        for listed in self.server.list():
            if listed["modelName"] not in (self.plain, self.echo):
                assert self.server.client.unload(listed["modelName"]).ok

    def check(self) -> None:
        """It lives, the models answer as they did, and no process has come or gone."""
        self.server.ping()
        assert self.server.invoke(self._plain, [1.0]) == self._plain.answer([1.0])
        assert self.server.client.invoke(self.echo, b"echo").body == b"echo"
        assert self._now() == self._children

    @contextmanager
    def no_error_logged(self) -> Iterator[None]:
        """Whatever is asked in the block is no reason for the server to log an error."""
        before = len(self.server.log)
        yield
        logged = self.server.log[before:].splitlines()
        assert [line for line in logged if '"level": "error"' in line or "Traceback" in line] == []
