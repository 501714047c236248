"""The attach runtime: a server that somebody else has started, and goes on using afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import Dialect, dialect_of
from pytest_mme.errors import NoAnswerError, ServerStartError, UnavailableError
from pytest_mme.runtimes.base import STOP_S, Reached, ServerSpec, let_others_read
from pytest_mme.settings import SharedFolder
from pytest_mme.timeline.events import Timeline

_OURS = ("share", "start_s")
"""All else whoever starts a server decides."""


_ELSEWHERE = "run this test with --mme-runtime=local or docker, or deselect it where a server is attached"


class AttachRuntime:
    """Hands out one server again and again. Each test's models have ids of their own, and are unloaded with it."""

    name = "attach"

    def __init__(self, url: str, folder: SharedFolder | None, directory: Path) -> None:
        """*folder*: what both sides see; None: a folder below *directory*, for a server on this machine."""
        self._url = url
        self._folder = folder or _let_through(directory)

    def identity(self, spec: ServerSpec) -> str:
        """The URL: what is measured there says nothing of any other server."""
        del spec
        return f"attach/{self._url}"

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[AttachedServer]:
        """Look whether it is a multi-model server, and hand it over; `Runtime.run`."""
        del timeline, known_bytes
        _refuse(spec)
        with contextlib.ExitStack() as undo:
            client = undo.enter_context(contextlib.closing(ContractClient(self._url)))
            dialect = _dialect(name, client)
            here = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder.here))
            undo.callback(shutil.rmtree, here, ignore_errors=True)
            here.chmod(0o755)  # the server may be another user's
            server = AttachedServer(name, client, dialect, SharedFolder(here, self._folder.there / here.name))
            undo.callback(server.unload_all)
            yield server


def _let_through(directory: Path) -> SharedFolder:
    """The run's directory, through which a server of another user may pass, though it may not look around."""
    for path in (directory.parent, directory):
        path.chmod(0o711)
    return SharedFolder(directory, PurePosixPath(directory))


def _refuse(spec: ServerSpec) -> None:
    asked = [name for name, default in dataclasses.asdict(ServerSpec()).items() if getattr(spec, name) != default]
    asked = [name for name in asked if name not in _OURS]
    if asked:
        raise UnavailableError(
            f"{', '.join(asked)} of a server that runs already",
            "whoever started it has decided that",
            _ELSEWHERE,
        )


def _dialect(name: str, client: ContractClient) -> Dialect:
    """How the server speaks; raises `ServerStartError` for one that does not speak the contract at all."""
    try:
        replies = {"GET /ping": client.ping(), "GET /models": client.list(timeout_s=routes.LOOK_TIMEOUT_S)}
        dialect = dialect_of(client)
    except NoAnswerError as error:
        raise ServerStartError(name, f"nothing answers at {client.url}: {error.cause}", "") from error
    for call, reply in replies.items():
        if not reply.ok or (call == "GET /models" and dialect.page(reply) is None):
            seen = f"{call} answered {reply.status}: {reply.text}"
            raise ServerStartError(name, f"{client.url} is no multi-model server: {seen}", "")
    return dialect


def _not_ours(what: str) -> UnavailableError:
    return UnavailableError(f"{what} of an attached server", "whoever started it keeps it", _ELSEWHERE)


class AttachedServer(Reached):
    """The server, as one test has it."""

    def __init__(self, name: str, client: ContractClient, dialect: Dialect, folder: SharedFolder) -> None:
        self.name, self.direct, self.dialect, self._folder = name, client, dialect, folder
        self.models = folder.here
        self.facts: Mapping[str, Any] = {}

    def place(self, folder: Path) -> str:
        """The folder that both sides see, as the server calls it."""
        let_others_read(folder, below=self.models)
        return str(self._folder.there / folder.relative_to(self._folder.here).as_posix())

    def unload_all(self) -> None:
        """Unload what was placed here and may be loaded still: the server goes on without us."""
        with contextlib.suppress(NoAnswerError):
            for placed in self.models.iterdir():
                self.direct.unload(placed.name)

    def log(self) -> str:
        """Nothing: its output goes to whoever started it."""
        return ""

    def gone(self) -> str | None:
        """Why `/ping` gets no answer."""
        try:
            self.direct.ping()
        except NoAnswerError as error:
            return str(error.cause)
        return None

    def used_bytes(self) -> int:
        """What the embedded server says of itself; other servers do not tell."""
        reply = self.direct.memory()
        if not reply.ok:
            advice = "measure on --mme-runtime=docker, which asks the kernel"
            raise UnavailableError("the memory of an attached server", f"it answered {reply.status}", advice)
        return int(reply.json()["used_bytes"])

    def signal(self, identifier: str, name: str) -> None:
        """Not ours to do."""
        del name
        raise _not_ours(f"the process of model {identifier}")

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Not ours to do."""
        del most_mib
        raise _not_ours(f"the process of model {identifier}")

    def limit_memory(self, limit_bytes: int) -> int:
        """Not ours to do."""
        del limit_bytes
        raise _not_ours("the memory limit")

    def stop(self, grace_s: float = STOP_S) -> float:
        """Not ours to do."""
        del grace_s
        raise _not_ours("the end")

    def start_again(self) -> None:
        """Not ours to do."""
        raise _not_ours("the start")

    def catch_up(self) -> None:
        """What there is to know is known: the client's own view."""
