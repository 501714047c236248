"""The result of a load: each request, and statistics of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, overload

from hdrh.histogram import HdrHistogram

_LONGEST_US = 3_600_000_000
_DIGITS = 3
LATE_S = 0.01
"""In seconds. A request that is sent later than this after it was due is late: no client was free, or this machine is slow."""
CLIENT_BOUND = 0.9
"""From this share of one core on, this process limits the load: Python computes on one core."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    """One request; its times are in seconds from the load's beginning."""

    model: str
    due_s: float
    """When it was to be sent; in a closed load, when its client became free."""
    sent_s: float
    answered_s: float
    outcome: str
    """``ok``, a status, or an error's code."""
    hit: bool | None = None
    """Whether its model was in memory when it was sent; None where no load of a model was recorded."""

    @property
    def latency_s(self) -> float:
        """The latency since it was due: waiting for a free client is waiting for the server (no coordinated omission)."""
        return self.answered_s - self.due_s

    @property
    def queued_s(self) -> float:
        """How long it waited for a free client."""
        return self.sent_s - self.due_s


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Load(Sequence[Sent]):
    """The requests of a load, in the order in which they were sent."""

    name: str
    sent: Sequence[Sent]
    seconds: float
    """From the clients' beginning to the last reply."""
    client_share: float
    """The part of one core that this process used meanwhile, for its clients and the endpoint's platform side."""

    @overload
    def __getitem__(self, index: int) -> Sent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sent]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.sent[index]

    def __len__(self) -> int:
        return len(self.sent)

    def __iter__(self) -> Iterator[Sent]:
        return iter(self.sent)

    def of(self, *models: str) -> Load:
        """The requests to these models."""
        return dataclasses.replace(self, sent=[one for one in self.sent if one.model in models])

    @cached_property
    def histogram(self) -> HdrHistogram:
        """The latencies of the successful requests, in microseconds, to three digits."""
        return histogram(one.latency_s for one in self.sent if one.outcome == "ok")

    def latency_s(self, percentile: float) -> float:
        """The latency, in seconds, that so many percent of the successful requests did not exceed.

        Raises ValueError when no request succeeded.
        """
        if not self.histogram.get_total_count():
            raise ValueError(f"no request of {self.name} succeeded: {dict(self.outcomes)}")
        return float(self.histogram.get_value_at_percentile(percentile)) / 1e6

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests had each outcome."""
        return Counter(one.outcome for one in self.sent)

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return len(self.sent) - self.outcomes["ok"]

    @property
    def late(self) -> int:
        """How many requests were sent late."""
        return sum(one.queued_s > LATE_S for one in self.sent)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.sent) / self.seconds if self.seconds else 0.0

    @property
    def client_bound(self) -> bool:
        """Whether this process was the limit, rather than the server."""
        return self.client_share >= CLIENT_BOUND

    def __repr__(self) -> str:
        return f"<Load {self}>"

    def __str__(self) -> str:
        parts = [f"{self.name}: {len(self.sent)} requests in {self.seconds:.1f} s, {self.rate:.0f} per second"]
        if self.failed:
            parts.append(", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.most_common()))
        if self.outcomes["ok"]:
            parts.append(f"p50 {self.latency_s(50) * 1e3:.1f} ms, p99 {self.latency_s(99) * 1e3:.1f} ms")
        if self.late:
            parts.append(f"{self.late} sent late")
        if self.client_bound:
            parts.append(f"this process was the limit ({self.client_share:.0%} of a core)")
        return "; ".join(parts)


def histogram(latencies_s: Iterable[float]) -> HdrHistogram:
    """A histogram, in microseconds up to an hour, of latencies in seconds."""
    found = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for latency_s in latencies_s:
        found.record_value(min(_LONGEST_US, max(1, round(latency_s * 1e6))))
    return found
