"""A fault that lasts is known to be in effect, and undone at the latest when its victim goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_mme.faults.lasting import Lasting, lasting, undo, undone


class Victim:
    def __init__(self) -> None:
        self.name = "ranking"
        self.in_effect: list[Lasting[Any]] = []
        self.seen: list[str] = []


class Faults:
    def __init__(self, victim: Victim) -> None:
        self.victim = victim

    @lasting
    @contextlib.contextmanager
    def paused(self, model: str) -> Iterator[str]:
        self.victim.seen.append(f"{model} paused")
        try:
            yield model
        finally:
            self.victim.seen.append(f"{model} continued")

    @lasting
    @contextlib.contextmanager
    def stuck(self) -> Iterator[None]:
        yield
        raise OSError("it is stuck")

    @lasting
    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        raise OSError("not here")
        yield


def test_a_fault_is_in_effect_in_its_block() -> None:
    victim = Victim()
    with Faults(victim).paused("a") as given:
        assert given == "a"
        assert [one.name for one in victim.in_effect] == ["paused"]
    assert victim.in_effect == []


def test_a_fault_that_could_not_be_made_is_not_in_effect() -> None:
    victim = Victim()
    with pytest.raises(OSError, match="not here"), Faults(victim).refused():
        pass
    assert victim.in_effect == []


def test_an_error_of_the_block_reaches_the_fault_and_the_test() -> None:
    victim = Victim()
    with pytest.raises(ZeroDivisionError), Faults(victim).paused("a"):
        _ = 1 / 0
    assert victim.seen == ["a paused", "a continued"]
    assert victim.in_effect == []


def test_what_nobody_undoes_is_undone_the_latest_first() -> None:
    victim = Victim()
    with undone(victim):
        for model in "ab":
            Faults(victim).paused(model).__enter__()
        assert len(victim.in_effect) == 2
    assert victim.seen == ["a paused", "b paused", "b continued", "a continued"]


def test_one_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    victim = Victim()
    Faults(victim).paused("a").__enter__()
    Faults(victim).stuck().__enter__()
    assert undo(victim) == ["stuck", "paused"]
    assert victim.seen == ["a paused", "a continued"]
    assert "the fault stuck of ranking could not be undone: it is stuck" in caplog.text


def test_undone_once_more_by_its_own_block_it_stays_undone() -> None:
    victim = Victim()
    with Faults(victim).paused("a"):
        undo(victim)
    assert victim.seen == ["a paused", "a continued"]


def test_some_can_be_kept() -> None:
    victim = Victim()
    Faults(victim).paused("a").__enter__()
    kept = list(victim.in_effect)
    Faults(victim).paused("b").__enter__()
    assert undo(victim, keep=kept) == ["paused"]
    assert victim.seen == ["a paused", "b paused", "b continued"]
    assert victim.in_effect == kept
