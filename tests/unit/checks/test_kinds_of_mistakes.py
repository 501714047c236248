"""Timelines on which a check is easily mistaken, by hand, with the right verdict of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pytest_mme import checks
from pytest_mme.timeline.events import Event, Kind, Source

MIB = 1 << 20


def event(
    kind: Kind, at_s: float, model: str | None = None, outcome: str = "ok", source: Source = "hosting", **more: Any
) -> Event:
    seconds, server = more.pop("seconds", None), more.pop("server", None)
    return Event(
        kind=kind, at_s=at_s, model=model, outcome=outcome, source=source, seconds=seconds, server=server, detail=more
    )


def asked(
    began_s: float, at_s: float, model: str = "a", outcome: str = "ok", source: Source = "test", **detail: Any
) -> Event:
    return event("invoke", at_s, model, outcome, source, seconds=at_s - began_s, **detail)


def tried(began_s: float, at_s: float, model: str = "a", outcome: str = "ok", number: int = 1) -> Event:
    return event("attempt", at_s, model, outcome, seconds=at_s - began_s, attempt=f"attempt={number}; max=5")


def died(at_s: float, model: str = "a", source: Source = "server") -> Event:
    return event("crash" if source == "server" else "oom", at_s, model, "SIGKILL", source)


def evicted(at_s: float, model: str, seconds: float = 0.01) -> list[Event]:
    return [event("evict", at_s, model, seconds=seconds), event("unload", at_s, model)]


def every(step_s: float, times: int, first_s: float, seconds: float, model: str = "good") -> list[Event]:
    return [asked(first_s + n * step_s, first_s + n * step_s + seconds, model) for n in range(times)]


def rounds(*mib: float) -> list[Event]:
    """A measurement, then an unload, for each."""
    return [
        one
        for number, used in enumerate(mib)
        for one in (
            event("sample", number + 0.5, source="server", used_bytes=int(used * MIB)),
            event("unload", number + 0.9, "a", source="client"),
        )
    ]


def on(server: str, *events: Event) -> list[Event]:
    return [dataclasses.replace(one, server=server) for one in events]


RIGHT: dict[str, Any] = {"expected": {"identity": "a/1#0", "value": [2.0]}, "got": {"identity": "a/1#0", "y": [2.0]}}
WRONG: dict[str, Any] = {**RIGHT, "got": {"identity": "b/1#0", "y": [2.0]}}
NAN: dict[str, Any] = {
    "expected": {"identity": "i", "value": [float("nan")]},
    "got": {"identity": "i", "y": [float("nan")]},
}
ONCE = [event("download", 0.5, "a"), event("load", 1, "a")]
TWO = [event("load", 0.1, "a"), event("load", 0.2, "b")]
TOGETHER = [asked(0, 1.1), asked(0.1, 1.2)]
FULL = [event("load", 1, "a"), event("load", 2, "b"), *evicted(3, "a"), event("load", 4, "c")]
LATE_KERNEL = [died(3), event("load", 3.2, "a"), died(3.3, source="engine")]
BAD = died(10, "bad")
CALM = every(1, 20, 0, 0.1)
OTHERS_LOAD = event("load", 200, "other", seconds=100)

PASS: dict[str, Callable[[], None]] = {
    "a prediction of NaN that is NaN": lambda: checks.check_answers([asked(0, 1, **NAN)]),
    "a request of another client, whose reply nobody saw": lambda: checks.check_answers(
        [asked(0, 1, **RIGHT), tried(2, 3, outcome="424 ModelError")]
    ),
    "one request at least": lambda: checks.check_concurrent([asked(0, 1)], at_least=1),
    "a bad request answered while its model is unloaded": lambda: checks.check_drained(
        [asked(0, 1, outcome="400", source="client"), event("unload", 0.9, "a", source="client", seconds=0.4)]
    ),
    "a lost try that its client repeated": lambda: checks.check_drained(
        [tried(0, 1, outcome="424 ModelError"), tried(1.1, 1.5, number=2), event("unload", 0.9, "a", seconds=0.4)]
    ),
    "a request that came after the unload began": lambda: checks.check_drained(
        [asked(0, 1), asked(0.5001, 0.51, outcome="404"), event("unload", 1, "a", seconds=0.5)]
    ),
    "two models used at the same moment": lambda: checks.check_lru(
        [*TWO, asked(1, 2, "a"), asked(1, 2, "b"), *evicted(3, "b")]
    ),
    "evictions that overlap": lambda: checks.check_lru(
        [
            *TWO,
            event("load", 0.3, "c"),
            *(asked(at_s, at_s + 0.1, model) for at_s, model in ((1, "a"), (1.2, "b"), (1.4, "c"))),
            *evicted(3.0, "a", 0.5),
            *evicted(3.1, "b", 0.5),
        ]
    ),
    "ends recorded in another order than they happened": lambda: checks.check_lru(
        [*TWO, tried(1, 2.0005, "a"), tried(1, 2.0004, "b"), *evicted(3, "a")]
    ),
    "room for two": lambda: checks.check_capacity(FULL, 2),
    "the kernel reports a death late: room": lambda: checks.check_capacity(
        [event("load", 1, "a"), event("load", 2, "b"), *LATE_KERNEL, *evicted(4, "a"), event("load", 5, "c")], 2
    ),
    "the kernel reports a death late: in memory": lambda: checks.check_resident(
        [event("load", 1, "a"), *LATE_KERNEL, asked(3.4, 3.5)], "a"
    ),
    "the kernel reports a death late: recovered": lambda: checks.check_recovers(
        [event("load", 1, "a"), *LATE_KERNEL, asked(3.1, 3.25)], "a", within_s=5
    ),
    "a model that was coming when another had to go": lambda: checks.check_capacity(
        [
            event("load", 1, "a"),
            event("load", 5, "b", seconds=3),
            event("evict", 3, "a", seconds=0.5, room_for="c"),
            event("load", 6, "c"),
        ],
        2,
    ),
    "a model that left just before another had to go": lambda: checks.check_capacity(
        [event("load", 1, "a"), event("load", 2, "b"), event("unload", 2.997, "b"), *evicted(3.01, "a")], 2
    ),
    "a model that died a second after it came": lambda: checks.check_capacity(
        [event("load", 1, "a"), event("load", 2, "b"), died(3, "b"), event("load", 4, "c"), *evicted(5, "a")], 2
    ),
    "a model that died half a second after it came": lambda: checks.check_capacity(
        [event("load", 1, "a"), event("load", 2, "b"), died(2.5, "b"), event("load", 4, "c"), *evicted(5, "a")], 2
    ),
    "models loaded a moment apart, whose requests the platform timed": lambda: checks.check_fifo(
        [
            *(event("load", 0.1, "a"), event("load", 0.103, "b")),
            event("attempt", 1.1, "a", used_s=[1.0, 1.1]),
            *evicted(3, "b"),
        ]
    ),
    "three tries of one call on a warm model": lambda: checks.check_no_thrash(
        [
            event("load", 0.1, "a"),
            *(tried(number, number + 0.1) for number in range(1, 9)),
            *(
                tried(10 + n / 5, 10.1 + n / 5, outcome="424 ModelError" if n < 2 else "ok", number=n + 1)
                for n in range(3)
            ),
        ]
    ),
    "a load that ended before the request began": lambda: checks.check_no_thrash(
        [event("load", 1, "a"), asked(1.01, 1.5)], hit_ratio=1
    ),
    "a good model's call that succeeded at its second try": lambda: checks.check_isolated(
        [BAD, tried(11, 11.1, "good", "429 ModelNotReadyException"), tried(11.2, 11.3, "good", number=2)],
        good="good",
        bad="bad",
    ),
    "a good model that is slow, of which nothing was said": lambda: checks.check_isolated(
        [asked(1, 1.1, "good"), BAD, asked(11, 21, "good")], good="good", bad="bad"
    ),
    "a good model that failed before": lambda: checks.check_isolated(
        [asked(1, 2, "good", "500"), BAD, asked(11, 12, "good")], good="good", bad="bad"
    ),
    "a good model that failed before, while a bad one's load was under way that failed second": lambda: (
        checks.check_isolated(
            [asked(6, 7, "good", "500"), BAD, event("load", 20, "bad", "500", seconds=15), asked(21, 22, "good")],
            good="good",
            bad="bad",
        )
    ),
    "one of a hundred stalls": lambda: checks.check_no_stall(
        [*CALM, OTHERS_LOAD, *every(0.2, 99, 101, 0.1), asked(140, 150, "good")], of="good"
    ),
    "memory that rises in its first round only": lambda: checks.check_memory_bounded(rounds(100, 110, 110), cycles=3),
    "another model's bad request meanwhile": lambda: checks.check_recovers(
        [died(3), asked(3.2, 3.3, "b", "400"), asked(3.5, 4)], within_s=5
    ),
    "a signature that a try has after its status": lambda: checks.check_recovers(
        [died(3), tried(3.1, 3.2, outcome="424 ModelError"), asked(3.5, 4)], within_s=5, signature="ModelError"
    ),
    "a wrong prediction long after the recovery": lambda: checks.check_recovers(
        [died(3), asked(3.5, 4, **RIGHT), asked(9, 10, **WRONG)], within_s=5
    ),
    "a request that failed just before the death of its model was reported": lambda: checks.check_recovers(
        [died(3), asked(2.5, 3.1, "b", "ModelError"), died(3.4, "b"), asked(3.5, 4), asked(3.5, 4, "b")], within_s=5
    ),
    "another model's request that got no reply long before": lambda: checks.check_recovers(
        [asked(0.5, 1, "b", "no answer"), died(3), asked(3.5, 4)], within_s=5
    ),
    "a request that began with the death": lambda: checks.check_recovers([died(3), asked(3, 4)], within_s=5),
    "a slow model that was less than twice as slow meanwhile": lambda: checks.check_recovers(
        [asked(1, 11, "b"), died(20), asked(20.5, 21), asked(20.6, 35.6, "b")], within_s=5
    ),
    "recovered in exactly the time allowed": lambda: checks.check_recovers([died(3), asked(3.5, 8)], within_s=5),
}

FAIL: dict[str, Callable[[], None]] = {
    "no known prediction": lambda: checks.check_answers([asked(0, 1, "own")]),
    "a known model beside one that nobody knows": lambda: checks.check_answers(
        [asked(0, 1, **RIGHT), asked(1, 2, "own", got="garbage")]
    ),
    "a failed request among right ones": lambda: checks.check_answers(
        [asked(0, 1, **RIGHT), asked(1, 2, outcome="500")]
    ),
    "a reply without a prediction among right ones": lambda: checks.check_answers(
        [asked(0, 1, source="client", **RIGHT), asked(1, 2, source="client", x=[1.0])]
    ),
    "a reply recorded without its prediction": lambda: checks.check_answers(
        [asked(0, 1, **RIGHT), asked(1, 2, expected=RIGHT["expected"])]
    ),
    "at least no prediction": lambda: checks.check_answers([], at_least=0),
    "requests that queue, seen by their callers": lambda: checks.check_concurrent(
        [asked(0, at_s, source="client") for at_s in (3, 2, 1)], at_least=3
    ),
    "requests that nobody took": lambda: checks.check_concurrent([asked(0, 1, outcome="no answer")] * 2),
    "requests together after an eviction that load twice": lambda: checks.check_loads_once(
        [
            *TOGETHER,
            *ONCE,
            *evicted(2, "a"),
            asked(3, 4.1),
            asked(3.1, 4.2),
            event("load", 4, "a"),
            event("load", 4.05, "a", "409"),
        ]
    ),
    "downloads that failed before": lambda: checks.check_loads_once(
        [*TOGETHER, *(event("download", at_s, "a", "ValidationError") for at_s in (0.3, 0.4)), *ONCE]
    ),
    "another client's lost request within a call of the kit": lambda: checks.check_drained(
        [asked(0, 10), tried(0.01, 9.99), tried(2, 6, outcome="424 ModelError"), event("unload", 5, "a", seconds=0.5)]
    ),
    "an eviction that failed": lambda: checks.check_evicted([event("evict", 1, "a", "500")], "a"),
    "bounds that exclude each other": lambda: checks.check_evictions([asked(0, 1)], at_least=3, at_most=1),
    "models used a moment apart, as the platform's own times show": lambda: checks.check_lru(
        [
            *TWO,
            event("attempt", 1.1, "a", used_s=[1.0, 1.001]),
            event("attempt", 1.1, "b", used_s=[1.0, 1.003]),
            *evicted(3, "b"),
        ]
    ),
    "an eviction beside busy models only": lambda: checks.check_lru([*TWO, asked(0.5, 9, "a"), *evicted(3, "b")]),
    "a busy model that is evicted": lambda: checks.check_lru(
        [*TWO, asked(1, 1.5, "a"), asked(2, 9, "b"), *evicted(3, "b")]
    ),
    "room that shrinks": lambda: checks.check_capacity(
        [
            *FULL,
            *evicted(5, "b"),
            *evicted(6, "c"),
            event("load", 7, "a"),
            *evicted(8, "a"),
            event("load", 9, "b"),
        ],
        2,
    ),
    "a model that had left just before, as the platform's own times show": lambda: checks.check_capacity(
        [
            event("load", 1, "a"),
            event("load", 2, "b"),
            event("attempt", 2.5, "a", used_s=[2.2, 2.4]),
            event("unload", 2.997, "b"),
            *evicted(3.01, "a"),
        ],
        2,
    ),
    "three models in memory for half a second": lambda: checks.check_capacity(
        [*(event("load", at_s, model) for at_s, model in ((1, "a"), (2, "b"), (2.5, "c"))), *evicted(3, "a")], 2
    ),
    "a model whose request was let to it twice": lambda: checks.check_lru(
        [
            *TWO,
            event("attempt", 5, "b", used_s=[1.0, 1.1, 3.0, 4.0]),
            event("attempt", 3, "a", used_s=[2.0, 3.0]),
            *evicted(3.5, "b"),
        ]
    ),
    "a model whose request goes on": lambda: checks.check_lru(
        [
            *TWO,
            event("attempt", 5, "b", used_s=[2.5]),
            event("attempt", 3, "a", used_s=[2.0, 3.0]),
            *evicted(3.5, "b"),
        ]
    ),
    "room that shrinks, and is made for another later": lambda: checks.check_capacity(
        [
            *FULL,
            *evicted(5, "b"),
            *evicted(6, "c"),
            event("load", 7, "a"),
            event("load", 7.5, "b"),
            event("evict", 8, "a", room_for="d"),
        ],
        2,
    ),
    "a model that was there already": lambda: checks.check_capacity([*FULL, event("load", 4.5, "a", "409")], 2),
    "events in another order than that of their times": lambda: checks.check_resident(
        [event("unload", 3, "a"), event("load", 1, "a")], "a"
    ),
    "a good model whose predictions nobody knows": lambda: checks.check_isolated(
        [asked(1, 2, "good"), BAD, asked(11, 12, "good", got="garbage", x=[1.0])], good="good", bad="bad"
    ),
    "a good model's failure at another client": lambda: checks.check_isolated(
        [BAD, asked(11, 15, "good"), tried(11.01, 14.9, "good"), tried(12, 13, "good", "424 ModelError")],
        good="good",
        bad="bad",
    ),
    "a good model's death that is reported a moment before the bad one's": lambda: checks.check_isolated(
        [died(9.998, "good"), BAD, asked(11, 12, "good")], good="good", bad="bad"
    ),
    "a bad request to a bad model": lambda: checks.check_isolated(
        [asked(1, 2, "bad", "400"), asked(3, 4, "good")], good="good", bad="bad"
    ),
    "one model as good and bad": lambda: checks.check_isolated([BAD, asked(11, 12, "bad")], good="bad", bad="bad"),
    "a good model on another server": lambda: checks.check_isolated(
        [*on("one", BAD), *on("other", asked(11, 12, "good"))], good="good", bad="bad"
    ),
    "a model that others' loads evict": lambda: checks.check_no_stall(
        [
            event("load", -1, "good"),
            *CALM,
            OTHERS_LOAD,
            *every(0.2, 10, 101, 0.1),
            *every(1, 50, 110, 1),
            *(event("load", 110.9 + number, "good") for number in range(50)),
        ],
        of="good",
    ),
    "one of ten stalls": lambda: checks.check_no_stall(
        [*CALM, OTHERS_LOAD, *every(0.2, 9, 101, 0.1), asked(140, 150, "good")], of="good"
    ),
    "a load on another server": lambda: checks.check_no_stall(
        [*on("one", *CALM, *every(0.2, 12, 101, 0.1)), *on("other", OTHERS_LOAD)], of="good"
    ),
    "a slow model that a fast one hides": lambda: checks.check_no_stall(
        [
            *CALM,
            *every(1, 20, 0, 0.1, "fast"),
            OTHERS_LOAD,
            *every(1, 10, 110, 0.5),
            *every(0.01, 1000, 101, 0.1, "fast"),
        ],
        of=["good", "fast"],
    ),
    "a hog whose requests all failed": lambda: checks.check_fair(
        [*CALM, *every(0.2, 12, 101, 0.1), *(asked(101 + n / 5, 101.05 + n / 5, "hog", "404") for n in range(12))],
        hog="hog",
        max_ratio=2,
    ),
    "others fail beside a hog": lambda: checks.check_fair(
        [*CALM, *every(0.2, 12, 101, 0.1), asked(105, 105.1, "good", "500"), asked(100, 120, "hog")],
        hog="hog",
        max_ratio=2,
    ),
    "two of five starve beside a hog": lambda: checks.check_fair(
        [*CALM, *every(0.1, 18, 101, 0.1), *every(1, 12, 101, 10), asked(100, 140, "hog")], hog="hog", max_ratio=2
    ),
    "a leak in six rounds": lambda: checks.check_memory_bounded(rounds(*range(35, 41)), cycles=6),
    "a leak in twelve rounds": lambda: checks.check_memory_bounded(rounds(*range(100, 112)), cycles=12),
    "a leak in thirty rounds": lambda: checks.check_memory_bounded(rounds(*range(300, 330)), cycles=30),
    "memory measured once": lambda: checks.check_memory_bounded(
        [
            event("sample", 0.1, source="server", used_bytes=10 * MIB),
            *(event("unload", number + 0.9, "a", source="client") for number in range(6)),
        ],
        cycles=6,
    ),
    "a dead model that nobody asks again": lambda: checks.check_recovers([died(3), asked(3.5, 4, "b")], within_s=5),
    "another model's failure that is reported a moment before the death": lambda: checks.check_recovers(
        [died(3), asked(2.5, 2.998, "b", "500"), asked(3.5, 4)], within_s=5
    ),
    "a slow model that was more than twice as slow meanwhile": lambda: checks.check_recovers(
        [asked(1, 11, "b"), died(20), asked(20.5, 21), asked(20.6, 45.6, "b")], within_s=5
    ),
    "another model's failure long before its own death": lambda: checks.check_recovers(
        [died(3), asked(3.2, 3.5, "b", "500"), asked(3.5, 4), died(20, "b"), asked(21, 22, "b")], within_s=5
    ),
    "a second request to the dead model that hung": lambda: checks.check_recovers(
        [died(3), asked(3.5, 4), asked(3.6, 30)], within_s=5
    ),
    "another model's request that hung": lambda: checks.check_recovers(
        [died(3), asked(3.5, 4), asked(3.1, 103, "b", "ModelError")], within_s=5
    ),
    "another model's request that was answered after a minute": lambda: checks.check_recovers(
        [asked(1, 1.5, "b"), died(3), asked(3.5, 4), asked(3.1, 63, "b")], within_s=5
    ),
    "a dead model that comes back wrong": lambda: checks.check_recovers([died(3), asked(3.5, 4, **WRONG)], within_s=5),
}


@pytest.mark.parametrize("name", PASS)
def test_what_only_looks_wrong_passes(name: str) -> None:
    PASS[name]()


@pytest.mark.parametrize("name", FAIL)
def test_what_only_looks_right_fails(name: str) -> None:
    with pytest.raises(AssertionError):
        FAIL[name]()
