"""The attach runtime: a server that somebody else has started, and that runs on afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import Dialect, dialect_of
from pytest_mme.errors import NoAnswerError, ServerStartError, UnavailableError, why_unreachable
from pytest_mme.runtimes.attach.server import AttachedServer
from pytest_mme.runtimes.base import ELSEWHERE
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.settings import SharedFolder
from pytest_mme.timeline.events import Timeline

_IGNORED = ("share", "start_s")
"""Fields without a meaning for a server that runs already; all others are decided by whoever started it."""


class AttachRuntime:
    """Lets every test use the same server. The models of each have ids of their own, and are unloaded at its end."""

    name = "attach"
    handler_host = None

    def __init__(self, url: str, folder: SharedFolder | None, directory: Path) -> None:
        """*folder*: visible to this process and to the server; None: below *directory*, for a server on this machine."""
        self._url = url
        if folder is None:  # a server of another user can reach what is below the run's directory, but not list it
            for path in (directory.parent, directory):
                path.chmod(0o711)
        self._folder = folder or SharedFolder(directory, PurePosixPath(directory))

    def identity(self, spec: ServerSpec) -> str:
        """The URL: measurements of this server say nothing about another one."""
        del spec
        return f"attach/{self._url}"

    @contextlib.contextmanager
    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> Iterator[AttachedServer]:
        """Check that it is a multi-model server, and hand it over; `Runtime.run`."""
        del timeline, known_bytes
        defaults = dataclasses.asdict(ServerSpec())
        asked = [key for key in defaults if key not in _IGNORED and getattr(spec, key) != defaults[key]]
        if asked:
            raise UnavailableError(
                f"{', '.join(asked)} of a server that runs already", "whoever started it has decided that", ELSEWHERE
            )
        with contextlib.ExitStack() as undo:
            client = undo.enter_context(contextlib.closing(ContractClient(self._url)))
            dialect = _dialect(name, client)
            here = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder.here))
            undo.callback(shutil.rmtree, here, ignore_errors=True)
            here.chmod(0o755)  # the server may be another user's
            server = AttachedServer(name, client, dialect, SharedFolder(here, self._folder.there / here.name))
            undo.callback(server.unload_all)
            yield server


def _dialect(name: str, client: ContractClient) -> Dialect:
    """The server's dialect; raises `ServerStartError` for one that is not a multi-model server."""
    try:
        replies = {"GET /ping": client.ping(), "GET /models": client.list(timeout_s=routes.LOOK_TIMEOUT_S)}
        dialect = dialect_of(client)
    except NoAnswerError as error:
        seen = f"nothing replies at {client.url}: {why_unreachable(error.cause)}"
        raise ServerStartError(name, f"{seen}\n  next: start it, or correct --mme-url") from error
    for call, reply in replies.items():
        if not reply.ok or (call == "GET /models" and dialect.page(reply) is None):
            seen = f"{call} replied {reply.status}: {reply.text}"
            raise ServerStartError(name, f"{client.url} is not a multi-model server: {seen}")
    return dialect
