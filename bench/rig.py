"""What the measurements share: a run of the kit with a cache of its own, tiny models, the peer's figures."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from bench.peer import Peers, measure
from pytest_mme import Model, Run, Server, Settings
from pytest_mme.archives.archive import extract

INSTANCE = [1.0]
BODY = json.dumps({"instances": [INSTANCE]}).encode()
_PEERS = 3

Say = Callable[[str], None]
"""Shows what is being measured."""


class Rig:
    """Made once for all parts of the table."""

    def __init__(self, run: Run, directory: Path, say: Say) -> None:
        self.run, self.directory, self.say = run, directory, say

    @cached_property
    def peers(self) -> Peers:
        """Measured when the first claim needs it."""
        self.say(f"{_PEERS} peers: import tensorflow, load, first answer")
        folders = [self._saved_model(model) for model in self.run.models.fleet(_PEERS)]
        return measure(folders, BODY)

    def _saved_model(self, model: Model) -> Path:
        folder = self.directory / model.name
        extract(model.archive, folder)
        return folder / "1"

    def tiny_saved_model(self) -> Path:
        """The folder of one tiny SavedModel."""
        return self._saved_model(self.run.models.linear("alone"))


@contextlib.contextmanager
def rigged(say: Say) -> Iterator[Rig]:
    """A rig, gone at the end with everything made with it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is measured is not compiled anew each time, as for users
    with tempfile.TemporaryDirectory(prefix="pytest-mme-bench-") as directory:
        settings = Settings.resolve(environment={**os.environ, "PYTEST_MME_CACHE": f"{directory}/cache"})
        with Run(settings) as run:
            yield Rig(run, Path(directory), say)


class Placed:
    """A model whose files lie where a server sees them, as they do when the platform asks for a load."""

    def __init__(self, server: Server, model: Model) -> None:
        self._server, self._model = server, model
        self.identifier = uuid.uuid4().hex
        folder = server.running.models / self.identifier / "model"
        folder.parent.mkdir()
        extract(model.archive, folder)
        self._url = server.running.place(folder)

    def load(self) -> None:
        """`POST /models`."""
        self._server.client.load(self.identifier, self._url).expect("load")

    def invoke(self, body: bytes = BODY) -> bytes:
        """`POST /models/ID/invoke`: the answer's body."""
        return self._server.client.invoke(self.identifier, body).expect("invoke").body

    def first_answer(self) -> None:
        """Load and invoke."""
        self.load()
        self.invoke()

    def unload(self) -> None:
        """`DELETE /models/ID`."""
        self._server.client.unload(self.identifier).expect("unload")

    def check(self) -> None:
        """RuntimeError unless it answers what it must: a fast wrong answer is none."""
        (seen,) = self._server.client.invoke(self.identifier, BODY).json()["predictions"]
        if seen != self._model.answer(INSTANCE):
            raise RuntimeError(f"{self._model.name} answered {seen}")
