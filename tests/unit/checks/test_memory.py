"""Memory over rounds, by hand-written events."""

from __future__ import annotations

import pytest

from pytest_mme.checks import check_memory_bounded
from pytest_mme.timeline.events import Event


def rounds(*most_mib: float) -> list[Event]:
    """A measurement and an unload for each."""
    events = []
    for number, mib in enumerate(most_mib):
        detail = {"used_bytes": int(mib * 1024 * 1024)}
        events.append(Event(kind="sample", source="server", at_s=number + 0.2, detail={"used_bytes": 0}))
        events.append(Event(kind="sample", source="server", at_s=number + 0.5, detail=detail))
        events.append(Event(kind="unload", source="client", at_s=number + 0.9, model="a"))
    return events


def test_memory_may_rise_a_little_and_not_more() -> None:
    check_memory_bounded(rounds(100, 103, 99, 104), cycles=4)
    with pytest.raises(
        AssertionError, match=r"^memory rises over 4 rounds, from 110.0 to 130.0 MiB: 100.0, 110.0, 120.0, 130.0$"
    ):
        check_memory_bounded(rounds(100, 110, 120, 130), cycles=4)


def test_fewer_rounds_than_asked_for_fail() -> None:
    with pytest.raises(AssertionError, match=r"^2 rounds with a measurement and an unload were recorded, not 3$"):
        check_memory_bounded(rounds(100, 100), cycles=3)
    with pytest.raises(ValueError, match=r"cycles=1: give 2 or more"):
        check_memory_bounded([], cycles=1)


def test_rounds_without_a_new_sample_count_with_the_last_one() -> None:
    plateau = [event for event in rounds(100, 100, 100, 100) if event.kind == "unload" or event.at_s < 1]
    check_memory_bounded(plateau, cycles=4)
