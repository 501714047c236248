"""One loaded model: its state and its processes; a request to it and the reply."""

from __future__ import annotations

import asyncio
import dataclasses
import enum

from pytest_mme.serving.processes.zygote_client import ChildProcess, End

Span = tuple[float, float]
"""When something began and when it ended, by the monotonic clock, which all processes of a machine share."""


class RefusalError(Exception):
    """A request that the server refuses: the reply's status, and the message in its body."""

    def __init__(self, status: int, message: str, *, worked: Span | None = None) -> None:
        """*worked*: when a process of the model worked on it, where one did."""
        super().__init__(status, message)
        self.status, self.message, self.worked = status, message, worked


def at_work(worked: Span | None, since_s: float) -> dict[str, float]:
    """How long a request that came at *since_s* was queued and was worked on, in seconds, for its event."""
    return {} if worked is None else {"queued_s": max(0.0, worked[0] - since_s), "worked_s": worked[1] - worked[0]}


class State(enum.Enum):
    """The state of a model between its load and the end of its processes."""

    LOADING = "loading"
    READY = "loaded"
    UNLOADING = "unloading"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invocation:
    """One request to a model."""

    body: bytes
    method: str | None = None
    """TensorFlow Serving's ``predict``, ``classify`` or ``regress``; None stands for ``predict``."""
    version: int | None = None
    """None stands for the highest."""
    content_type: str = "application/json"
    accept: str = "application/json"
    attributes: str | None = None
    """The custom attributes as they came."""
    target: str | None = None
    """The archive that the client named, from the platform's header."""
    request_id: str | None = None
    rest_uri: str = ""
    """Where user code reaches the model itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """The reply of a model, or of the user code for it."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    worked: Span | None = None
    """When a process of the model worked on the request."""


@dataclasses.dataclass(eq=False)
class LoadedModel:
    """One model in the table and its processes."""

    identifier: str
    url: str
    state: State = State.LOADING
    worker: ChildProcess | None = None
    """Holds the SavedModel; None when user code holds it."""
    handler: ChildProcess | None = None
    """Runs the model's own user code; None when it has none."""
    children: list[ChildProcess] = dataclasses.field(default_factory=list)
    """All processes that were started for it."""
    in_flight: int = 0
    settled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the load has succeeded or failed."""
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the model has left the table."""
    end: End | None = None
    """How the first of its processes that died by itself ended."""

    def __post_init__(self) -> None:
        self.idle.set()
