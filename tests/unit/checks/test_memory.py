"""Memory over rounds, by hand-written events."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from random import Random

import pytest

from pytest_mme.checks import check_memory_bounded
from pytest_mme.timeline.events import Event

MIB = 1 << 20


def rounds(*most_mib: float) -> list[Event]:
    """Measurements and an unload for each."""
    events = []
    for number, mib in enumerate(most_mib):
        detail = {"used_bytes": int(mib * MIB)}
        events.append(Event(kind="sample", source="server", at_s=number + 0.2, detail={"used_bytes": 0}))
        events.append(Event(kind="sample", source="server", at_s=number + 0.5, detail=detail))
        events.append(Event(kind="unload", source="client", at_s=number + 0.9, model="a"))
    return events


def test_memory_that_rises_a_little_each_round_leaks() -> None:
    check_memory_bounded(rounds(100, 103, 99, 104), cycles=4)
    with pytest.raises(
        AssertionError,
        match=r"^memory rises by 10.00 MiB a round \(10.00 or more with 95 % confidence\) over 4 rounds of a; "
        r"0.25 MiB may be: 100.0, 110.0, 120.0, 130.0$",
    ):
        check_memory_bounded(rounds(100, 110, 120, 130), cycles=4)
    check_memory_bounded(rounds(100, 110, 120, 130), cycles=4, tolerance_mib=10)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_mebibyte_a_round_is_seen_in_three_hundred(noise: float) -> None:
    dice = Random(0)
    with pytest.raises(AssertionError, match=r"^memory rises by (1\.0|0\.9)\d MiB a round"):
        check_memory_bounded(rounds(*(300 + number + dice.gauss(0, noise) for number in range(30))), cycles=30)


@pytest.mark.parametrize(
    "marks",
    [
        (100, 110, 110),
        (100, 105, 108, 110, 110, 110, 110, 110, 110),
        (100, 100, 100, 100, 100, 140, 140, 140, 140, 140),
        (100, 150, 100, 150, 100, 150, 100, 150),
    ],
    ids=["warm-up", "slow warm-up", "one step", "sizes in turn"],
)
def test_memory_that_stays_where_it_is_does_not_leak(marks: tuple[float, ...]) -> None:
    check_memory_bounded(rounds(*marks), cycles=len(marks))


def test_the_slope_that_is_sure_is_the_69th_of_190() -> None:
    """By Gilbert (1987): of 20 rounds, (190 - 1.645 * 30.8) / 2 = 69.6."""
    marks = [100 + number**3 / 50 for number in range(30)]
    judged = list(enumerate(marks))[10:]
    slopes = sorted((high - low) / (later - earlier) for (earlier, low), (later, high) in combinations(judged, 2))
    with pytest.raises(AssertionError, match=rf"\({slopes[68]:.2f} or more with 95 % confidence\)"):
        check_memory_bounded(rounds(*marks), cycles=30)
    assert f"{slopes[67]:.2f}" < f"{slopes[68]:.2f}" < f"{slopes[69]:.2f}"


def test_of_fewer_than_four_rounds_a_hundredth_is_noise() -> None:
    check_memory_bounded(rounds(100, 100.5, 101, 101.5), cycles=4)
    with pytest.raises(AssertionError, match=r"^memory rises by 0.50 MiB a round"):
        check_memory_bounded(rounds(100, 100.5, 101, 101.5, 102), cycles=5)
    with pytest.raises(AssertionError, match=r"^memory rises by 2.00 MiB a round"):
        check_memory_bounded(rounds(100, 102, 104, 106), cycles=4)


def of(model: str, *most_mib: float, first: int = 0, step: int = 1) -> list[Event]:
    """Rounds in which *model* is loaded, measured and unloaded."""
    events: list[Event] = []
    for number, mib in enumerate(most_mib):
        began_s = float(first + number * step)
        events += [
            Event(kind="load", source="client", at_s=began_s + 0.2, seconds=0.1, model=model),
            Event(kind="sample", source="server", at_s=began_s + 0.5, detail={"used_bytes": int(mib * MIB)}),
            Event(kind="unload", source="client", at_s=began_s + 0.9, seconds=0.1, model=model),
        ]
    return events


def test_rounds_of_one_model_are_compared_with_each_other_only() -> None:
    small, large = of("small", *[100.0] * 6), of("large", *[200.0] * 6, first=6)
    check_memory_bounded([*small, *large], cycles=12)
    leaking = of("large", *(200.0 + number for number in range(6)), first=6)
    with pytest.raises(AssertionError, match=r"^memory rises by 1.00 MiB a round"):
        check_memory_bounded([*of("small", *(94.0 + number for number in range(6))), *leaking], cycles=12)


def test_rounds_of_different_models_cannot_be_compared() -> None:
    events = [event for number in range(6) for event in of(f"model-{number}", 100.0 + number, first=number)]
    with pytest.raises(
        AssertionError, match=r"^0 rounds with a measurement and an unload can be compared with another"
    ):
        check_memory_bounded(events, cycles=6)


def test_what_an_unload_has_left_is_no_measure_of_a_round() -> None:
    events = [
        dataclasses.replace(event, at_s=event.at_s + 0.45) if event.kind == "sample" else event
        for event in of("a", *[100.0] * 6)
    ]
    with pytest.raises(AssertionError, match=r"^0 rounds with a measurement"):
        check_memory_bounded(events, cycles=6)


def test_fewer_rounds_than_asked_for_fail() -> None:
    with pytest.raises(AssertionError, match=r"^3 rounds with a measurement .* and 4 must be$"):
        check_memory_bounded(rounds(100, 100, 100), cycles=4)
    with pytest.raises(AssertionError, match=r"^0 rounds with a measurement"):
        check_memory_bounded([], cycles=4)
    with pytest.raises(AssertionError, match=r"^3 rounds with a measurement .* and 5 must be$"):
        check_memory_bounded([*of("a", *[100.0] * 3), *of("b", *[100.0] * 2, first=3)], cycles=5)
    with pytest.raises(ValueError, match=r"cycles=2: give 3 or more"):
        check_memory_bounded([], cycles=2)


def test_rounds_without_a_sample_of_their_own_do_not_count() -> None:
    seen_once = [event for event in rounds(100, 100, 100, 100) if event.kind == "unload" or event.at_s < 1]
    with pytest.raises(AssertionError, match=r"^0 rounds with a measurement"):
        check_memory_bounded(seen_once, cycles=4)


def test_what_was_measured_while_another_model_was_there_counts_from_the_last_unload_on() -> None:
    stays = Event(kind="load", source="client", at_s=0.01, model="stays")
    low = [one for one in of("a", *(100.0 + number for number in range(6))) if one.kind != "sample"]
    samples = [
        Event(kind="sample", source="server", at_s=number + 0.05, detail={"used_bytes": int((100 + number) * MIB)})
        for number in range(6)
    ]
    with pytest.raises(AssertionError, match=r"^memory rises by 1.00 MiB a round .* over 6 rounds of a, stays"):
        check_memory_bounded([stays, *low, *samples], cycles=6)


def test_samples_without_memory_or_without_models_are_no_measure_of_a_round() -> None:
    others = [
        Event(kind="sample", source="server", at_s=number + 0.6, detail=detail)
        for number in range(6)
        for detail in ({"threads": 9}, {"used_bytes": (900 + 10 * number) * MIB, "resident": 0})
    ]
    check_memory_bounded([*rounds(*[100.0] * 6), *others], cycles=6)


def test_a_sample_of_the_very_moment_of_an_unload_is_of_the_rounds_before_and_after_it() -> None:
    stays = Event(kind="load", source="client", at_s=0.01, model="stays")
    bare = [one for one in of("a", *[100.0] * 6) if one.kind != "sample"]
    ends = [one.at_s for one in bare if one.kind == "unload"][:-1]
    samples = [Event(kind="sample", source="server", at_s=end_s, detail={"used_bytes": 100 * MIB}) for end_s in ends]
    check_memory_bounded([stays, *bare, *samples], cycles=6)
    check_memory_bounded([*bare, *samples], cycles=5)


def test_models_that_are_unloaded_at_one_moment_were_there_together() -> None:
    leaking = [100.0 + number for number in range(6)]
    with pytest.raises(AssertionError, match=r"over 6 rounds of a, b;"):
        check_memory_bounded([*of("a", *leaking), *of("b", *leaking)], cycles=6)
