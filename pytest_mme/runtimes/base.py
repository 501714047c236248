"""The seams between the kit and where its servers run: `Runtime` starts a `Running` server, which may have `Controls`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.dialects import Dialect
from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.timeline.events import Timeline

STOP_S = 30.0
"""SIGKILL follows SIGTERM after so many seconds. Source: AWS, "Use Your Own Inference Code with Hosting Services"."""
ELSEWHERE = "run this test with --mme-runtime=local or docker, or deselect it where a server is attached"
"""The advice for what cannot be done with a server that somebody else has started."""


class Running(Protocol):
    """A server that runs."""

    name: str
    direct: ContractClient
    """Calls the server itself; the kit's own questions go this way."""
    interceptors: tuple[ContractClient, ...]
    """What faults have put between callers and the server; the last one added is called first."""
    dialect: Dialect
    """How its replies are to be read; `contract.dialects.dialect_of` finds out for an unknown server."""
    facts: Mapping[str, Any]
    """What the server reported about itself when it started: `tensorflow`, `enforcement` and others."""
    models: Path
    """Where models are put for it, as a path of this process; each has a folder of its own."""

    @property
    def client(self) -> ContractClient:
        """Makes the calls of tests and of hosting: through the interceptors, if there are any."""

    @property
    def controls(self) -> Controls | None:
        """Power over its processes and its memory; None for a server that somebody else has started."""

    def place(self, folder: Path) -> str:
        """Make a folder below `models` visible to the server, as it is now, and return the server's path of it."""

    def log(self) -> str:
        """Everything that it has logged."""

    def gone(self) -> str | None:
        """Why it does not run any more; None while it runs."""

    def used_bytes(self) -> int:
        """The memory that its models use now; raises `UnavailableError` when the server does not report it."""

    def catch_up(self) -> None:
        """Return when everything that the server has seen until now is on the timeline."""


class Controls(Protocol):
    """Power over a server's processes and its memory. Each method raises `UnavailableError` when it cannot be done."""

    def signal(self, identifier: str, name: str) -> None:
        """Send the signal *name*, such as KILL, to the process of a loaded model."""

    def exhaust_memory(self, identifier: str, most_mib: int) -> None:
        """Use memory under the limit, up to *most_mib*, until the kernel has killed the process of a loaded model."""

    def limit_memory(self, limit_bytes: int) -> int:
        """Change the memory limit, in bytes, and return the previous one."""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped and not started again."""

    def stop(self, grace_s: float = STOP_S) -> float:
        """Send SIGTERM, and SIGKILL after *grace_s* seconds; return how many seconds it took to end."""

    def start_again(self) -> None:
        """Start it after a stop, with nothing loaded; `Running.direct` is another client afterwards."""


def controls_of(running: Running, what: str = "control") -> Controls:
    """The controls of a server; raises `UnavailableError`, for *what* is to be done, when it has none."""
    if running.controls is None:
        raise UnavailableError(
            f"{what} of the attached server {running.name}",
            "whoever started it controls its processes and its memory",
            ELSEWHERE,
        )
    return running.controls


class Interceptable:
    """A server whose calls can be intercepted: the part of `Running` that `faults.intercepting` works with."""

    direct: ContractClient
    interceptors: tuple[ContractClient, ...] = ()

    @property
    def client(self) -> ContractClient:
        """The last interceptor, which hands calls on to the one before it; without any the server's own client."""
        return self.interceptors[-1] if self.interceptors else self.direct


class Runtime(Protocol):
    """Starts servers."""

    name: str
    """As the header shows it."""

    @property
    def handler_host(self) -> HandlerHost | None:
        """Starts servers around an `inference_handler`; None where the runtime cannot."""

    def identity(self, spec: ServerSpec) -> str:
        """A name for what is run, under which measurements are kept: the runtime and the version of what it starts."""

    def run(
        self, spec: ServerSpec, *, name: str, timeline: Timeline, known_bytes: Mapping[str, int] | None = None
    ) -> AbstractContextManager[Running]:
        """Start a server, hand it over once it is ready, and end it; raises `ServerStartError`.

        *known_bytes*: the measured memory of archives, by their fingerprint, for a server that can use that.
        """


class HandlerHost(Protocol):
    """Starts servers around an `inference_handler`."""

    def host(
        self,
        inference: Path,
        place: Callable[[Path], Sequence[str]],
        spec: ServerSpec,
        *,
        name: str,
        timeline: Timeline,
    ) -> AbstractContextManager[Running]:
        """Start a server whose models the `inference_handler` in the file *inference* loads; raises `ServerStartError`.

        *place* puts the models into the folder that it is given, and returns their names.
        """
