"""Each test sees its own slice of a shared server's timeline."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pytest_mme import Timeline
from pytest_mme.checks import check_answers, check_fifo, check_lfu, check_lru, check_resident
from pytest_mme.runtimes.shared_timeline import SharedTimeline
from pytest_mme.timeline.events import Kind, Source

WRONG = {"expected": {"identity": "a", "value": [1.0]}, "got": {"identity": "b", "y": [1.0]}}


@pytest.fixture
def shared() -> SharedTimeline:
    """A timeline whose first test has loaded a and b, asked a, evicted b and got a wrong answer of a."""
    timeline, clock = SharedTimeline(), Timeline()
    clock.began_monotonic_s -= 1
    timeline.begin(clock)
    for model in "ab":
        timeline.record(
            "load", source="hosting", server="ranking", model=model, seconds=0.1, detail={"archive": f"{model}1"}
        )
    timeline.record("evict", source="hosting", server="ranking", model="b", detail={"room_for": "c"})
    timeline.record("invoke", source="test", server="ranking", model="a", seconds=0.01, detail=WRONG)
    return timeline


def test_a_call_that_an_earlier_test_began_is_not_the_next_ones(shared: SharedTimeline) -> None:
    with shared.under_way("invoke", source="test", server="ranking", model="a"):
        (mine,) = shared.unfinished("ranking")
        assert (mine.model, mine.outcome) == ("a", "under way")
        assert 0 <= (mine.seconds or 0.0) < 1 <= mine.at_s  # the clock of the test is a second old
        shared.begin(Timeline())
        assert shared.unfinished("ranking") == []
        with shared.under_way("load", source="hosting", server="ranking", model="b"):
            assert [one.model for one in shared.unfinished("ranking")] == ["b"]


def test_a_slice_begins_with_what_is_in_memory(shared: SharedTimeline) -> None:
    shared.begin(Timeline())
    (load,) = shared.of("ranking")
    assert (load.kind, load.source, load.model, load.at_s, load.seconds) == ("load", "hosting", "a", 0.0, None)
    assert (load.detail["in_memory"], load.detail["archive"]) == ("before this test", "a1")
    assert shared.in_memory_before() == shared.in_memory() == ["a"]
    assert (len(shared), list(shared), shared[0]) == (1, [load], load)
    shared.begin(Timeline())  # also when nothing happened in between
    (again,) = shared.of("ranking")
    assert (again.at_s, again.detail["requests"], again.detail["archive"]) == (0.0, 1, "a1")


def test_what_is_in_memory_says_when_it_was_loaded_and_used_and_how_often() -> None:
    shared, first, second, third = SharedTimeline(), Timeline(), Timeline(), Timeline()
    for number, clock in enumerate((first, second, third)):
        clock.began_monotonic_s = time.monotonic() - 300 + 100 * number
    shared.begin(first)
    for model, at_s in (("a", 10.0), ("b", 20.0)):
        shared.record("load", source="hosting", server="ranking", model=model, seconds=1.0, at_s=at_s)
    for at_s in (30.0, 40.0):
        shared.record("attempt", source="hosting", server="ranking", model="a", seconds=1.0, at_s=at_s)
    shared.begin(second)
    shared.record("attempt", source="hosting", server="ranking", model="a", seconds=1.0, at_s=50.0)
    shared.begin(third)
    facts = {event.model: [event.detail[name] for name in ("loaded_s", "last_used_s", "requests")] for event in shared}
    assert facts == {"a": [-190.0, -50.0, 3], "b": [-180.0, -180.0, 0]}


def test_checks_judge_the_slice_and_know_what_was_in_memory(shared: SharedTimeline) -> None:
    with pytest.raises(AssertionError, match="1 of 1 predictions are wrong"):
        check_answers(shared)
    shared.begin(Timeline())
    check_resident(shared, "a")
    with pytest.raises(AssertionError, match="b is not resident"):
        check_resident(shared, "b")
    with pytest.raises(AssertionError, match="0 predictions with a known expected value"):
        check_answers(shared)
    shared.record("load", source="hosting", server="ranking", model="c")
    shared.record("unload", source="hosting", server="ranking", model="a")
    assert shared.in_memory() == ["c"]
    shared.begin(Timeline())
    assert shared.in_memory_before() == ["c"]


def two_in_memory() -> SharedTimeline:
    """The timeline of a test that began 100 s ago, before which a and b were loaded."""
    shared, first, second = SharedTimeline(), Timeline(), Timeline()
    first.began_monotonic_s -= 200
    second.began_monotonic_s -= 100
    shared.begin(first)
    for model, at_s in (("a", 10.0), ("b", 20.0)):
        shared.record("load", source="hosting", server="ranking", model=model, at_s=at_s, seconds=1.0)
    shared.begin(second)
    return shared


@pytest.mark.parametrize(
    ("check", "right"), [(check_lru, "b"), (check_fifo, "a"), (check_lfu, "c")], ids=["lru", "fifo", "lfu"]
)
@pytest.mark.parametrize("evicted", "abc")
def test_what_models_had_been_through_before_the_test_counts(
    check: Callable[..., None], right: str, evicted: str
) -> None:
    shared, first, second = SharedTimeline(), Timeline(), Timeline()
    for number, clock in enumerate((first, second)):
        clock.began_monotonic_s = time.monotonic() - 200 + 100 * number
    shared.begin(first)
    for model, at_s in (("a", 10.0), ("b", 20.0), ("c", 30.0)):
        shared.record("load", source="hosting", server="ranking", model=model, at_s=at_s, seconds=0.5)
    for model, at_s in (("b", 40.0), ("b", 41.0), ("c", 50.0), ("a", 60.0), ("a", 61.0)):
        shared.record("attempt", source="hosting", server="ranking", model=model, seconds=0.1, at_s=at_s)
    shared.begin(second)
    shared.record(
        "evict", source="hosting", server="ranking", model=evicted, at_s=10.0, seconds=0.5, detail={"room_for": "d"}
    )
    if evicted == right:
        check(shared)
        return
    with pytest.raises(AssertionError, match=f"{evicted} went, and .* was {right}"):
        check(shared)


def test_a_use_in_the_test_is_held_against_an_eviction() -> None:
    shared = two_in_memory()
    shared.record("attempt", source="hosting", server="ranking", model="a", at_s=5.0, seconds=0.5)
    shared.record(
        "evict", source="hosting", server="ranking", model="a", at_s=10.0, seconds=0.5, detail={"room_for": "c"}
    )
    with pytest.raises(AssertionError, match="a went, and the least recently used was b"):
        check_lru(shared)


def test_times_are_those_of_the_test(shared: SharedTimeline) -> None:
    test = Timeline()
    test.began_monotonic_s -= 100
    shared.begin(test)
    shared.show_in(test)
    event = shared.record("ping", source="client", server="ranking")
    assert 100 <= event.at_s == shared[-1].at_s == test[-1].at_s <= shared.now_s() < 200
    assert shared.began_monotonic_s == test.began_monotonic_s
    assert shared.to_jsonl() == test.to_jsonl()


def test_what_ended_before_the_slice_began_is_not_in_it(shared: SharedTimeline) -> None:
    shared.begin(Timeline())
    shared.record("crash", source="server", server="ranking", model="a", at_s=-0.5)
    assert [event.kind for event in shared] == ["load"]


@pytest.mark.parametrize(("kind", "counts"), [("invoke", False), ("attempt", False), ("unload", True), ("fault", True)])
def test_a_request_that_began_before_is_another_tests_and_a_move_that_did_is_known(
    shared: SharedTimeline, kind: Kind, counts: bool
) -> None:
    clock = Timeline()
    clock.began_monotonic_s -= 1
    shared.begin(clock)
    shared.record(kind, source="hosting", server="ranking", model="a", at_s=0.5, seconds=0.6)
    assert [event.kind for event in shared] == ["load", *[kind] * counts]


def test_what_was_timed_by_the_clock_of_the_slice_before_happens_now(shared: SharedTimeline) -> None:
    shared.begin(Timeline())
    shared.record("ping", source="server", server="ranking", at_s=1000.0)
    assert shared[-1].at_s <= shared.now_s()


def test_the_timeline_of_a_test_gets_its_slice_until_the_test_ends(shared: SharedTimeline) -> None:
    test, clock = Timeline(), Timeline()
    clock.began_monotonic_s = time.monotonic() - 1
    test.began_monotonic_s = clock.began_monotonic_s - 10
    shared.begin(clock)
    shared.record("ping", source="server", server="ranking", at_s=0.5)
    shared.show_in(test)
    shared.record("ping", source="client", server="ranking", at_s=0.75)
    shared.end()
    shared.record("ping", source="client", server="ranking", at_s=0.9)
    assert [event.kind for event in test] == ["load", "ping", "ping"]
    assert [event.at_s for event in test] == pytest.approx([10.0, 10.5, 10.75])
    assert len(shared) == 4


def test_models_keep_their_names_in_later_slices(shared: SharedTimeline) -> None:
    test = Timeline()
    shared.name_model("f00", "ranker")
    shared.begin(test)
    shared.show_in(test)
    shared.record("load", source="server", server="other", model="f00")
    assert shared.named_in("worker f00") == "ranker"
    assert [event.model for event in shared.of("other")] == [event.model for event in test.of("other")] == ["ranker"]


@pytest.mark.parametrize(("source", "told"), [("test", 1), ("client", 1), ("hosting", 1), ("server", 0), ("engine", 0)])
def test_the_first_use_by_a_test_is_told(shared: SharedTimeline, source: Source, told: int) -> None:
    uses, test = list[str](), Timeline()

    def on_use() -> None:
        uses.append("used")
        shared.show_in(test)

    shared.begin(Timeline(), on_use=on_use)
    for _ in range(2):
        shared.record("ping", source=source, server="ranking")
    assert len(uses) == told
    assert len(test) == 3 * told
