from __future__ import annotations

import threading
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.timeline.events import Event, Kind, Source, Timeline

names = st.none() | st.text(max_size=8)
events = st.builds(
    Event,
    at_s=st.floats(0, 1e6),
    source=st.sampled_from(get_args(Source)),
    kind=st.sampled_from(get_args(Kind)),
    server=names,
    model=names,
    outcome=st.text(max_size=8),
    seconds=st.none() | st.floats(0, 100),
    detail=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=8) | st.none(), max_size=3),
)


@given(events)
def test_an_event_survives_json(event: Event) -> None:
    assert Event.from_json(event.to_json()) == event


@given(st.lists(events, max_size=5))
def test_a_timeline_survives_json_lines(several: list[Event]) -> None:
    timeline = Timeline(several)
    again = Timeline.from_jsonl(timeline.to_jsonl())
    assert list(again) == list(timeline)
    assert again.began_wall == timeline.began_wall


@pytest.mark.parametrize("text", ["", "{}", "nonsense", '{"began": 3}'])
def test_a_text_that_is_not_a_timeline_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a timeline"):
        Timeline.from_jsonl(text)


@pytest.mark.parametrize("line", ["{}", '{"kind": "load", "surprise": 1}'])
def test_a_line_that_is_not_an_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        Event.from_json(line)


@pytest.mark.parametrize(("kind", "source"), [("lode", "test"), ("load", "tset")])
def test_an_event_of_an_unknown_kind_or_source_is_a_value_error(kind: str, source: str) -> None:
    with pytest.raises(ValueError, match="no such event"):
        Event(at_s=0, kind=kind, source=source)  # type: ignore[arg-type]


def test_an_event_began_before_it_ended() -> None:
    assert Event(at_s=5.0, seconds=2.0, kind="load", source="test").began_s == 3.0


def test_a_timeline_is_in_order_of_time_and_gives_the_events_of_one_server() -> None:
    timeline = Timeline()
    timeline.record("load", source="server", at_s=2.0, server="a")
    timeline.record("load", source="server", at_s=1.0, server="b")
    assert [event.at_s for event in timeline] == [1.0, 2.0]
    assert timeline[0].server == "b"
    assert [event.server for event in timeline.of("a")] == ["a"]


def test_an_event_that_is_added_with_a_models_id_gets_the_models_name() -> None:
    timeline = Timeline()
    timeline.name_model("0f" * 16, "ranker")
    assert timeline.record("load", source="server", model="0f" * 16).model == "0f" * 16
    assert timeline[0].model == "ranker"


def test_many_threads_record_without_loss() -> None:
    timeline, barrier = Timeline(), threading.Barrier(8)

    def record() -> None:
        barrier.wait()
        for _ in range(200):
            timeline.record("mark", source="test")

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(timeline) == 1600
