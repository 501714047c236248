"""One loaded model: its state, its processes, and what is asked of it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum

from pytest_mme.serving.processes.zygote_client import ChildProcess, End


class RefusalError(Exception):
    """An answer other than 200: its status, and what the body says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message


class State(enum.Enum):
    """Where a model is between its load and the end of its processes."""

    LOADING = "loading"
    READY = "loaded"
    UNLOADING = "unloading"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invocation:
    """One request to a model."""

    body: bytes
    method: str | None = None
    """TensorFlow Serving's: ``predict``, ``classify`` or ``regress``; None: ``predict``."""
    version: int | None = None
    """None: the highest."""
    content_type: str = "application/json"
    accept: str = "application/json"
    attributes: str | None = None
    """The custom attributes as they came."""
    target: str | None = None
    """The archive that the client asked for, as the platform tells it."""
    request_id: str | None = None
    rest_uri: str = ""
    """Where the model itself answers, for the user's code."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model, or the user's code for it, answers."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@dataclasses.dataclass(eq=False)
class Resident:
    """One model and its processes."""

    identifier: str
    url: str
    state: State = State.LOADING
    worker: ChildProcess | None = None
    """Holds the SavedModel; None where the user's own code does."""
    handler: ChildProcess | None = None
    """Runs the user's code; None where there is none, or one for all models."""
    children: list[ChildProcess] = dataclasses.field(default_factory=list)
    """All that were started for it."""
    in_flight: int = 0
    settled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the load is over, one way or the other."""
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the model has left the table."""
    end: End | None = None
    """How the first of its processes ended that nobody had told to."""

    def __post_init__(self) -> None:
        self.idle.set()
