"""How messages name models, counts and outcomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_mme.timeline.events import Event
from pytest_mme.timeline.wording import counted, listed, names_of, outcomes, some

ONE: Any = SimpleNamespace(name="a.tar.gz")


@pytest.mark.parametrize(
    ("models", "names"),
    [(ONE, ["a"]), ("a.tar.gz", ["a"]), ([ONE, "b"], ["a", "b"]), (iter(["b", "a"]), ["b", "a"])],
)
def test_models_are_named_as_events_name_them(models: Any, names: list[str]) -> None:
    assert names_of(models) == names


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, ""), (1, "0"), (5, "0; 1; 2; 3; 4"), (6, "0; 1; 2; 3; 4 and 1 more"), (9, "0; 1; 2; 3; 4 and 4 more")],
)
def test_five_are_shown_and_the_others_counted(number: int, text: str) -> None:
    assert some(range(number), str, between="; ") == text


def test_in_lines_of_their_own_so_is_the_count() -> None:
    assert some(range(6), str, between="\n").splitlines()[-2:] == ["4", "and 1 more"]


def test_counts_names_and_outcomes_are_english() -> None:
    assert [counted(number, "load") for number in (0, 1, 2)] == ["0 loads", "1 load", "2 loads"]
    assert (listed("abca"), listed([])) == ("a, b, c", "none")
    lost = Event(kind="invoke", source="test", at_s=1.0, model="a", outcome="500")
    assert (outcomes([lost, lost]), outcomes([])) == ("a 500 at 1.00 s, a 500 at 1.00 s", "it got no request")
