"""The short sections: what happened around a failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_mme.report.short import short_sections
from pytest_mme.timeline.events import Event, Timeline

MIB = 1 << 20
IDENTIFIER = "0123456789abcdef0123456789abcdef"


@dataclasses.dataclass
class Server:
    name: str
    timeline: Sequence[Event] = ()
    log: str = ""
    unfinished: Sequence[Event] = ()


def sections(timeline: Timeline, *servers: Server, failure: str = "assert False", lines: int = 30) -> dict[str, str]:
    return dict(short_sections(timeline, servers, failure=failure, lines=lines))


def around(timeline: Timeline, failure: str = "assert False") -> list[list[str]]:
    """The words of each line of the timeline's section."""
    return around_of(timeline, failure=failure)


def around_of(timeline: Timeline, *servers: Server, failure: str = "assert False") -> list[list[str]]:
    return [line.split() for line in sections(timeline, *servers, failure=failure)["mme timeline"].splitlines()]


def invoked(timeline: Timeline, at_s: float, model: str = "a", outcome: str = "ok", **detail: str) -> None:
    timeline.record(
        "invoke", source="client", server="s", model=model, at_s=at_s, seconds=0.5, outcome=outcome, detail=detail
    )


def test_the_events_around_the_last_one_that_went_wrong_are_shown() -> None:
    timeline = Timeline()
    for at_s in range(1, 20):
        invoked(timeline, at_s, model=f"m{at_s}", outcome="500" if at_s == 9 else "ok")
    shown = around(timeline)
    assert [line[3] for line in shown[:5]] == ["m6", "m7", "m8", "m9", "m10"]
    assert shown[5:] == [["(and", "14", "more:", "--mme-evidence=full)"]]


def test_a_death_comes_before_the_requests_that_fail_after_it() -> None:
    timeline = Timeline()
    end = {"end": "its worker was killed for lack of memory"}
    timeline.record("oom", source="server", server="s", model="m0", at_s=0.5, outcome="SIGKILL", detail=end)
    for at_s in range(1, 20):
        invoked(timeline, at_s, model=f"m{at_s}", outcome="500")
    assert around(timeline)[0][2:7] == ["out", "of", "memory", "m0", "SIGKILL"]


def test_a_time_in_the_message_says_where_to_look() -> None:
    timeline = Timeline()
    for at_s in range(1, 20):
        invoked(timeline, at_s, model=f"m{at_s}")
    models = [line[3] for line in around(timeline, "m5 was wrong at 5.00 s, m7 at 7.00 s")[:5]]
    assert models == ["m2", "m3", "m4", "m5", "m6"]


def test_a_call_that_has_not_ended_is_shown_with_how_long_it_has_lasted() -> None:
    timeline = Timeline()
    invoked(timeline, 0.0, model="a")
    with timeline.under_way("invoke", source="test", server="s", model="b"):
        shown = around_of(timeline, Server("s", unfinished=timeline.unfinished("s")))
        assert not timeline.unfinished("another")
    assert [line[2:4] for line in shown] == [["invoke", "a"], ["invoke", "b"], ["the", "test"]]
    assert shown[1][4:6] == ["under", "way"]
    assert not timeline.unfinished("s")


def test_a_request_that_failed_comes_before_one_that_has_not_ended() -> None:
    timeline = Timeline()
    for at_s in range(-9, 0):
        invoked(timeline, at_s, model=f"m{-at_s}", outcome="500" if at_s == -5 else "ok")
    with timeline.under_way("invoke", source="test", server="s", model="b"):
        shown = around_of(timeline, Server("s", unfinished=timeline.unfinished("s")))
    assert [line[3] for line in shown[:5]] == ["m8", "m7", "m6", "m5", "m4"]


def test_like_requests_in_a_row_are_one_line_and_several_observers_see_one_request() -> None:
    timeline = Timeline()
    for at_s in (1.0, 2.0, 3.0):
        timeline.record("attempt", source="hosting", server="s", model="a", at_s=at_s - 0.1, seconds=0.1)
        timeline.record("invoke", source="server", server="s", model="a", at_s=at_s - 0.2, seconds=0.1)
        timeline.record("invoke", source="test", server="s", model="a", at_s=at_s, seconds=0.5)
    first, last = around(timeline)
    assert first == ["3.000", "s", "invoke", "a", "ok,", "3", "times", "500", "ms"]
    assert last[2:] == ["the", "test", "has", "failed"]


def test_a_failed_request_has_the_reason_that_another_observer_saw_by_the_models_name() -> None:
    timeline = Timeline()
    timeline.name_model(IDENTIFIER, "prices")
    error = f'{{"error": "model {IDENTIFIER} is gone"}}'
    detail = {"error": error}
    timeline.record(
        "attempt", source="hosting", server="s", model="a", at_s=1.9, seconds=0.1, outcome="424", detail=detail
    )
    timeline.record("invoke", source="test", server="s", model="a", at_s=2.0, seconds=0.5, outcome="ModelError")
    assert around(timeline)[0][-4:] == ["model", "prices", "is", "gone"]


def test_a_load_is_its_summary_and_the_first_failures() -> None:
    timeline = Timeline()
    for at_s in (1.0, 2.0, 3.0, 4.0):
        invoked(timeline, at_s, outcome="500", error="no room")
    timeline.record(
        "mark", source="test", server="s", at_s=5.0, seconds=5.0, outcome="load", detail={"summary": "load: 4 requests"}
    )
    assert sections(timeline)["mme load"].splitlines() == [
        "load: 4 requests",
        "  1.000 s  a 500: no room",
        "  2.000 s  a 500: no room",
    ]


def test_memory_says_the_peak_that_no_sample_met() -> None:
    timeline = Timeline()
    sample = {"used_bytes": 10 * MIB, "limit_bytes": 150 * MIB, "peak_bytes": 150 * MIB}
    timeline.record("sample", source="server", server="s", at_s=1.0, detail=sample)
    assert sections(timeline, Server("s"))["mme memory"] == (
        "at most 150.0 of 150.0 MiB, for a moment; the samples saw 10.0 MiB, at 1.000 s; 10.0 MiB in the end"
    )


def test_the_log_takes_what_lines_are_left_and_that_of_the_failing_server_comes_first() -> None:
    timeline = Timeline()
    invoked(timeline, 1.0, outcome="500")
    log = "\n".join(f"line {number}" for number in range(100))
    found = sections(timeline, Server("other", log=log), Server("s", log=log), lines=20)
    assert [title for title in found if "log" in title] == ["mme server log of s", "mme server log of other"]
    assert sum(1 + text.count("\n") + 1 for text in found.values()) == 20
    assert found["mme server log of s"].endswith("line 99")
    assert "mme server log of other" not in sections(timeline, Server("other", log=log), Server("s", log=log), lines=8)
