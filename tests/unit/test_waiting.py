from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_mme.errors import NotReadyError
from pytest_mme.waiting import wait_for


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_the_first_answer_ends_the_wait() -> None:
    clock, answers = Clock(), iter([None, None, "ready"])
    seen = wait_for(lambda: next(answers), what="it", timeout_s=9, every_s=1, clock=clock, sleep=clock.sleep)
    assert (seen, clock.now_s) == ("ready", 2.0)


def test_a_false_answer_is_an_answer() -> None:
    assert wait_for(lambda: 0, what="it", timeout_s=9) == 0


def test_an_os_error_keeps_the_wait_going() -> None:
    clock, tries = Clock(), _refused_twice()
    assert wait_for(lambda: next(tries)(), what="it", timeout_s=9, clock=clock, sleep=clock.sleep) == "ready"


def _refused_twice() -> Iterator[Callable[[], object]]:
    def refuse() -> None:
        raise ConnectionRefusedError("nobody there")

    yield from (refuse, refuse, lambda: "ready")


def test_the_limit_says_what_was_seen_last() -> None:
    clock = Clock()

    def refuse() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(NotReadyError) as late:
        wait_for(refuse, what="the server", timeout_s=3, every_s=1, clock=clock, sleep=clock.sleep)
    assert str(late.value) == (
        "the server: gave up after 3.0 s\n  because: the limit is 3 s\n  seen:    ConnectionRefusedError: nobody there"
    )


def test_the_end_of_the_other_side_ends_the_wait() -> None:
    clock = Clock()
    with pytest.raises(NotReadyError, match="because: it died") as gone:
        wait_for(lambda: None, what="it", timeout_s=99, gone=lambda: "it died", clock=clock, sleep=clock.sleep)
    assert gone.value.waited_s == 0.0
