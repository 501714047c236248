"""Why a container does not start, as an error with advice on what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mme.errors import MMEError, NotReadyError, ServerStartError, UnavailableError
from pytest_mme.runtimes import event_reader
from pytest_mme.runtimes.docker import readiness
from pytest_mme.runtimes.docker.creation import EVENTS_LABEL, PORT, ended
from pytest_mme.runtimes.docker.engine import first_line

if TYPE_CHECKING:
    from docker.errors import APIError
    from docker.models.containers import Container

_NO_GPU_DRIVER = "could not select device driver"
_HANGS = "a server that is ready replies to GET /models and GET /models/ID at once; read what it printed last"
_MISSING = {
    readiness.PINGED: f"the server has to listen on port {PORT}, on all addresses; if it needs longer, give start_s=",
    readiness.LISTED: "a multi-model server replies to GET /models, too",
    event_reader.FACTS: f"label an image whose server is not the embedded one: LABEL {EVENTS_LABEL}=none",
}


def refused(server: str, error: APIError, log: str) -> MMEError:
    """The error for what the engine refuses: `UnavailableError` for a GPU that it does not have, else `ServerStartError`."""
    seen = first_line(error)
    if _NO_GPU_DRIVER in seen:
        advice = "install NVIDIA's container toolkit for the engine, or use device='cpu'"
        return UnavailableError("a GPU in a container", seen, advice)
    return ServerStartError(
        server, f"the engine reports: {seen}\n  next:    change what it names, or read the engine's own log", log
    )


def not_ready(server: str, container: Container, error: Exception, log: str) -> ServerStartError:
    """The error for a container that was started, and did not become ready."""
    end = ended(container)
    if end and end.code is None:
        advice = "look for what removes containers here"
    elif container.attrs["State"]["OOMKilled"]:
        advice = "the kernel killed a process for lack of memory: give the server more, memory_mib="
    elif end is None:
        advice = _MISSING[error.what] if isinstance(error, NotReadyError) else _HANGS
    else:
        image = container.image
        name = (*image.tags, image.id)[0] if image else "IMAGE"
        advice = f"read what it printed last; to try it by hand: docker run --rm {name} serve"
    return ServerStartError(server, f"{error}\n  next:    {advice}", log)
