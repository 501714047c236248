"""Memory that becomes scarce: which limits are set, in which order, and that all is undone whatever fails."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.faults import memory
from tests.unit.faults.victim import MIB, Running, refusal


@pytest.fixture
def running() -> Any:
    return Running([])


@pytest.mark.parametrize(
    ("before", "at_most", "in_effect"),
    [
        (0, True, 108 * MIB),  # 0, or less: there was none
        (-1, True, 108 * MIB),
        (200 * MIB, True, 108 * MIB),
        (50 * MIB, True, 50 * MIB),
        (1, True, 1),
        (50 * MIB, False, 108 * MIB),
    ],
)
def test_a_limit_is_lowered_and_never_raised_unless_it_may_be(
    running: Any, before: int, at_most: bool, in_effect: int
) -> None:
    running.controls.limit = before
    with memory.limited(running, running.controls, 8, at_most=at_most) as limit:
        assert limit == running.controls.limit == in_effect
    assert running.controls.limit == before
    assert running.done[0] == "limit 108"
    assert len(running.done) == (2 if in_effect == 108 * MIB else 3)


def test_parts_of_a_mib_may_be_left(running: Any) -> None:
    with memory.limited(running, running.controls, 0.5) as limit:
        assert limit == 100.5 * MIB


def test_a_limit_that_cannot_be_restored_is_left(running: Any) -> None:
    with memory.limited(running, running.controls, 8):
        running.controls.refused["limit 0"] = refusal()
    assert running.done == ["limit 108"]


def test_short_of_memory_is_a_mib(running: Any) -> None:
    with memory.short(running, running.controls, "id-a") as sent:
        sent()
    assert running.done == ["limit 101", "limit 0"]


STOPPED = ["STOP id-a", "limit 612"]
ASKED = ["GET /ping"] * 3


def test_memory_is_exhausted_once_the_stopped_model_has_the_request(running: Any) -> None:
    running.controls.limit = 300 * MIB
    with memory.exhausted(running, running.controls, "id-a") as sent:
        assert running.done == STOPPED
        sent()
    assert running.done == [*STOPPED, *ASKED, "exhaust id-a 1024", "limit 300"]


def test_memory_is_exhausted_too_where_the_request_could_not_be_sent(running: Any) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        memory.exhausted(running, running.controls, "id-a"),
    ):
        _ = 1 / 0
    assert running.done == [*STOPPED, *ASKED, "exhaust id-a 1024", "limit 0", "CONT id-a"]


@pytest.mark.parametrize(
    ("fails", "done"),
    [
        ("limit 612", ["STOP id-a", "CONT id-a"]),
        ("exhaust id-a 1024", [*STOPPED, *ASKED, "CONT id-a", "limit 0", "CONT id-a"]),
    ],
)
def test_a_stopped_model_continues_where_something_else_fails(running: Any, fails: str, done: list[str]) -> None:
    running.controls.refused[fails] = refusal()
    with (
        pytest.raises(UnavailableError),
        memory.exhausted(running, running.controls, "id-a") as sent,
    ):
        sent()
    assert running.done == done
    running.controls.refused["CONT id-a"] = refusal("a dead process")
    with (
        pytest.raises(UnavailableError, match="that cannot be had"),
        memory.exhausted(running, running.controls, "id-a") as sent,
    ):
        sent()


def test_a_model_that_has_died_already_is_left_alone(running: Any) -> None:
    running.controls.refused["STOP id-a"] = refusal()
    with memory.exhausted(running, running.controls, "id-a") as sent:
        sent()
    assert running.done == []


def test_shortages_come_one_after_the_other(running: Any) -> None:
    @contextlib.contextmanager
    def shortage(given: object, controls: object, identifier: str) -> Iterator[memory.Sent]:
        assert (given, controls) == (running, running.controls)
        running.done.append(f"{identifier} begins")
        yield lambda: running.done.append(f"{identifier} sent")
        running.done.append(f"{identifier} ends")

    alone = memory.OneAtATime(running, running.controls, shortage)

    def second() -> None:
        with alone("id-b") as sent:
            sent()

    other = threading.Thread(target=second)
    with alone("id-a") as sent:
        other.start()
        other.join(0.05)
        sent()
    other.join()
    assert running.done == [f"id-{model} {what}" for model in "ab" for what in ("begins", "sent", "ends")]
