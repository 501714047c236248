"""The processes of one embedded server."""

from __future__ import annotations

import dataclasses

import psutil

from pytest_mme import Server
from tests.local.conftest import process_of


@dataclasses.dataclass(frozen=True)
class Family:
    """The front, its zygote, and what the zygote has forked."""

    front: psutil.Process
    zygote: psutil.Process

    @classmethod
    def of(cls, server: Server) -> Family:
        """The processes of *server*."""
        front = process_of(server)
        (zygote,) = front.children()
        return cls(front, zygote)

    def workers(self) -> list[psutil.Process]:
        """The processes of its models: one worker each, and one more where a model brings its own code."""
        return self.zygote.children()
