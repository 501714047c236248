"""Invokes at the contract: how long, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence

from bench import in_worker
from bench.claims import Claim, Part, Row
from bench.measure import median_difference_ms, median_ms, percentile_ms, seconds_in_turn
from bench.processes import started
from bench.rig import BODY, Placed, Rig
from pytest_mme import ContractClient, Event

_CALLS = 2000


def invoke(rig: Rig) -> Sequence[Row]:
    """A keep-alive client, one call after the other; in turn with it, the same client at a front that does nothing."""
    rig.say(f"{_CALLS} invokes at the contract")
    with rig.run.server() as server, started("bench.fronts", "aiohttp") as front:
        placed, empty = Placed(server, rig.run.models.linear("tiny")), ContractClient(front.url)
        placed.load()
        placed.check()
        seconds, nothing = seconds_in_turn(_CALLS, placed.invoke, lambda: empty.invoke("tiny", BODY))
        in_server = server_seconds(server.timeline, _CALLS)
        empty.close()
    worker = in_worker.measure(rig.tiny_saved_model(), _CALLS)
    whole_ms = median_ms(seconds)
    parts = {
        "worker: TensorFlow (measured alone)": worker.run_s * 1000,
        "worker: JSON and numpy (measured alone)": (worker.predict_s - worker.run_s) * 1000,
        "channel between front and worker": median_ms(in_server) - worker.predict_s * 1000,
        "HTTP: client, aiohttp (a front that does nothing)": median_ms(nothing),
        "HTTP: what our front adds": median_difference_ms(seconds, in_server) - median_ms(nothing),
    }
    return [
        Claim(what=f"invoke at the contract, p50 (of {_CALLS})", ours=whole_ms, unit="ms", at_most=1),
        *(Part(what=what, ours=part_ms, unit="ms", whole=whole_ms) for what, part_ms in parts.items()),
        Claim(what=f"invoke at the contract, p99 (of {_CALLS})", ours=percentile_ms(seconds, 99), unit="ms"),
    ]


def server_seconds(events: Sequence[Event], calls: int) -> list[float]:
    """What the server itself says of the last *calls* invokes: from the body read to the worker's answer."""
    found = [event.seconds or 0.0 for event in events if event.kind == "invoke" and event.source == "server"]
    return found[-calls:]
