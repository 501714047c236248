"""When requests of an open load are due."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.traffic.arrivals import Stage, burst, due_times, hold, ramp


def test_a_constant_rate() -> None:
    assert list(due_times([hold(10, 0.5)])) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_ramp() -> None:
    due = list(due_times([ramp(0, 10, 1)]))
    assert due == pytest.approx([0.4472, 0.6325, 0.7746, 0.8944, 1.0], abs=1e-4)
    assert list(due_times([ramp(10, 0, 1)])) == pytest.approx([1 - at_s for at_s in [*due[:-1][::-1], 0]], abs=1e-4)


def test_all_requests_of_a_burst_are_due_at_once() -> None:
    assert list(due_times([hold(2, 1), burst(3)])) == pytest.approx([0.5, 1, 1, 1, 1])


def test_a_fraction_of_a_request_is_carried_into_the_next_stage() -> None:
    assert list(due_times([hold(2.5, 1), hold(2.5, 1)])) == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])


@given(st.lists(st.builds(Stage, st.floats(0.1, 5), st.floats(0.1, 50), st.floats(0.1, 50)), min_size=1, max_size=5))
def test_due_times_are_in_order_in_time_and_as_many_as_the_rates_give(stages: list[Stage]) -> None:
    due = list(due_times(stages))
    assert due == sorted(due)
    assert all(0 <= at_s <= sum(stage.seconds for stage in stages) + 1e-6 for at_s in due)
    assert len(due) == pytest.approx(sum(stage.due_by(stage.seconds) for stage in stages), abs=1.001)


@pytest.mark.parametrize(
    "make",
    [lambda: hold(-1, 1), lambda: hold(1, -1), lambda: ramp(1, -1, 1), lambda: ramp(-1, 1, 1), lambda: burst(-1)],
)
def test_negative_numbers_are_refused(make: Callable[[], Stage]) -> None:
    with pytest.raises(ValueError, match="give no negative numbers"):
        make()


def test_nothing_is_due_in_a_stage_without_time_or_rate() -> None:
    assert list(due_times([hold(5, 0), hold(0, 5), burst(0)])) == []
