"""Soft checks outside of tests."""

from __future__ import annotations

import contextvars

import pytest

from pytest_mme.checks import check_evicted, soft_checks


def test_failures_of_soft_checks_are_collected_and_others_raised() -> None:
    with soft_checks() as found:
        check_evicted([], "a", soft=True)
        check_evicted([], "b", soft=True)
        with pytest.raises(AssertionError, match="a was not evicted"):
            check_evicted([], "a")
    assert [str(one).partition(";")[0] for one in found] == ["a was not evicted", "b was not evicted"]


def test_a_soft_check_outside_of_a_collecting_block_is_a_runtime_error() -> None:
    outside = contextvars.Context()
    with pytest.raises(RuntimeError, match="nothing collects failures here"):
        outside.run(check_evicted, [], "a", soft=True)
