"""A server that somebody else has started, as one test uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import Dialect
from pytest_mme.errors import NoAnswerError, UnavailableError
from pytest_mme.runtimes.base import Interceptable
from pytest_mme.runtimes.permissions import let_others_read
from pytest_mme.settings import SharedFolder


class AttachedServer(Interceptable):
    """An attached server: whoever started it keeps control of it."""

    controls = None

    def __init__(self, name: str, client: ContractClient, dialect: Dialect, folder: SharedFolder) -> None:
        self.name, self.direct, self.dialect, self._folder = name, client, dialect, folder
        self.models = folder.here
        self.facts: Mapping[str, Any] = {}

    def place(self, folder: Path) -> str:
        """Let the server read the folder, and return the server's path of it."""
        let_others_read(folder, below=self.models)
        return str(self._folder.there / folder.relative_to(self._folder.here).as_posix())

    def unload_all(self) -> None:
        """Unload the models that were placed here: the server goes on running without them."""
        with contextlib.suppress(NoAnswerError):
            for placed in self.models.iterdir():
                self.direct.unload(placed.name)

    def log(self) -> str:
        """Return nothing: its output goes to whoever started it."""
        return ""

    def gone(self) -> str | None:
        """Why `/ping` gets no reply; None while it gets one."""
        try:
            self.direct.ping()
        except NoAnswerError as error:
            return str(error.cause)
        return None

    def used_bytes(self) -> int:
        """The memory that an embedded server reports; raises `UnavailableError` for other servers."""
        reply = self.direct.memory()
        if not reply.ok:
            advice = "measure on --mme-runtime=docker, which asks the kernel"
            raise UnavailableError("the memory of an attached server", f"it replied {reply.status}", advice)
        return int(reply.json()["used_bytes"])

    def catch_up(self) -> None:
        """Do nothing: the timeline has the client's view only, which is complete."""
