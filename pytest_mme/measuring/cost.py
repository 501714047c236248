"""What serving an archive costs, measured alone on a server: memory, the time of a load and of a request."""

from __future__ import annotations

import dataclasses
import statistics

from pytest_mme.errors import ArchiveError
from pytest_mme.measuring.capacity import Candidate, Capacity, Need
from pytest_mme.runtimes.server import Server

_LOADS = 5
_WARM_UP = 20
_REQUESTS = 200
_TRY = "examine it with pytest-mme doctor"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingCost:
    """What one archive costs."""

    archive_bytes: int
    need: Need
    load_s: float
    """The median of 5 loads, in seconds."""
    latency_s: float | None
    """The median of 200 requests, one after the other, after 20 to warm up, in seconds; None when none succeeds."""
    refused: str
    """Why a request failed, or none was sent; empty when all succeeded."""


def serving_cost(server: Server, candidate: Candidate, *, concurrency: int) -> ServingCost:
    """Measure *candidate* on a server that holds nothing else; raises `ArchiveError` when it is not loaded."""
    alone = Capacity(server, concurrency=concurrency).alone(candidate)
    if alone.need is None:
        raise ArchiveError(f"{candidate.label} cannot be measured", f"it does not load: {alone.failure}", _TRY)
    loads_s = []
    for _ in range(_LOADS):
        server.load(candidate.model)
        *_, last = (event for event in server.timeline if event.kind == "load" and event.source == "client")
        server.unload(candidate.model)
        loads_s.append(last.seconds or 0.0)
    server.load(candidate.model)
    latency_s = None
    if alone.need.asked_bytes is not None:
        identifier, body = server.identifier(candidate.model), candidate.request or b""
        replies = [server.client.invoke(identifier, body).expect("invoke") for _ in range(_WARM_UP + _REQUESTS)]
        latency_s = statistics.median(reply.seconds for reply in replies[_WARM_UP:])
    server.unload(candidate.model)
    return ServingCost(
        archive_bytes=candidate.model.archive.stat().st_size,
        need=alone.need,
        load_s=statistics.median(loads_s),
        latency_s=latency_s,
        refused=alone.refused,
    )
