"""Invokes through boto3: how long, and where the time goes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.claims import Claim, Part, Row
from bench.invoking import server_seconds
from bench.measure import median_difference_ms, median_ms, percentile_ms, seconds_in_turn
from bench.processes import started
from bench.rig import BODY, INSTANCE, Rig
from pytest_mme import ContractClient, Endpoint, Model, Reply
from pytest_mme.faults.intercepting import Interception

_CALLS = 1000


class TimedClient(ContractClient):
    """Keeps what each invoke took, as the hosting side saw it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.seconds: list[float] = []

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str] | None = None, **options: Any) -> Reply:
        """As it is."""
        reply = super().invoke(identifier, body, headers, **options)
        self.seconds.append(reply.seconds)
        return reply


@dataclasses.dataclass(frozen=True)
class Calls:
    """Seconds of calls of two kinds, which took turns, and of what lay within the second kind."""

    nothing: Sequence[float]
    """boto3's client with a server that does nothing."""
    whole: Sequence[float]
    """`endpoint.invoke`."""
    hosting: Sequence[float]
    container: Sequence[float]
    server: Sequence[float]


def boto3(rig: Rig) -> Sequence[Row]:
    """`endpoint.invoke`, one call after the other; in turn with it, boto3 alone."""
    rig.say(f"{_CALLS} invokes through boto3")
    with started("bench.fronts", "aiohttp") as front, rig.run.aws() as aws:
        model = rig.run.models.linear("tiny")
        with rig.run.endpoint([model], aws=aws) as endpoint:
            calls = _calls(endpoint, model, _to_nothing(front.url))
    whole_ms, nothing_ms = median_ms(calls.whole), median_ms(calls.nothing)
    parts = {
        "boto3 itself, with moto's hook (a server that does nothing)": nothing_ms,
        "front door, and its threads beside boto3's": median_difference_ms(calls.whole, calls.hosting) - nothing_ms,
        "hosting": median_difference_ms(calls.hosting, calls.container),
        "container call: HTTP": median_difference_ms(calls.container, calls.server),
        "container call: in the server": median_ms(calls.server),
    }
    return [
        Claim(what=f"invoke through boto3, p50 (of {_CALLS})", ours=whole_ms, unit="ms", at_most=5),
        *(Part(what=what, ours=part_ms, unit="ms", whole=whole_ms) for what, part_ms in parts.items()),
        Claim(what=f"invoke through boto3, p99 (of {_CALLS})", ours=percentile_ms(calls.whole, 99), unit="ms"),
    ]


def _calls(endpoint: Endpoint, model: Model, nothing: Callable[[], object]) -> Calls:
    if endpoint.invoke(model, INSTANCE) != model.answer(INSTANCE):
        raise RuntimeError(f"{model.name} answers wrong")
    with _timed(endpoint) as container_s:
        nothing_s, whole_s = seconds_in_turn(_CALLS, nothing, lambda: endpoint.invoke(model, INSTANCE))
    events = endpoint.timeline
    hosting_s = [event.seconds or 0.0 for event in events if event.kind == "attempt"]
    return Calls(nothing_s, whole_s, hosting_s[-_CALLS:], container_s[-_CALLS:], server_seconds(events, _CALLS))


@contextlib.contextmanager
def _timed(endpoint: Endpoint) -> Iterator[Sequence[float]]:
    """What each container call takes meanwhile."""
    with (
        contextlib.closing(TimedClient(endpoint.running.direct.url)) as timed,
        Interception(endpoint.running).by(timed),
    ):
        yield timed.seconds


def _to_nothing(url: str) -> Callable[[], object]:
    """A call of SageMaker Runtime by boto3's own client, sent to *url*."""
    from boto3.session import Session

    client = Session().client("sagemaker-runtime", region_name="us-east-1", endpoint_url=url)
    return lambda: client.invoke_endpoint(
        EndpointName="bench", TargetModel="tiny.tar.gz", ContentType="application/json", Body=BODY
    )["Body"].read()
