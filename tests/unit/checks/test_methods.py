"""Checks as methods: what an editor, `help()` and a replay know of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from pytest_mme import checks
from pytest_mme.checks.methods import Checked
from pytest_mme.timeline.events import Event, Timeline

NAMES = [name for name in checks.__all__ if name.startswith("check_")]


class Endpoint(Checked):
    """Has a timeline, and nothing else."""

    def __init__(self) -> None:
        self.name, self.recording = "ranking", Timeline()

    @property
    def timeline(self) -> tuple[Event, ...]:
        return self.recording.of(self.name)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_has_the_name_the_docstring_and_the_options_of_its_check(name: str) -> None:
    check, method = getattr(checks, name), getattr(Endpoint(), name)
    events, *options = inspect.signature(check).parameters.values()
    assert events.name == "events"
    assert list(inspect.signature(method).parameters.values()) == options
    assert list(inspect.signature(getattr(Endpoint, name)).parameters.values())[1:] == options
    assert (method.__name__, inspect.getdoc(method)) == (name, inspect.getdoc(check))


def test_help_shows_the_options_of_a_bound_check(capsys: pytest.CaptureFixture[str]) -> None:
    help(Endpoint().check_capacity)
    shown = capsys.readouterr().out
    assert "check_capacity(n: 'int', *, soft: 'bool' = False)" in shown
    assert "Fail unless *n* models, no more and no fewer, fit into the memory of an instance." in shown


def test_a_method_records_the_check_its_arguments_and_why_it_failed() -> None:
    endpoint = Endpoint()
    with pytest.raises(AssertionError, match="no load was recorded"):
        endpoint.check_capacity(2)
    (mark,) = endpoint.timeline
    assert (mark.kind, mark.outcome) == ("mark", "check_capacity")
    assert mark.detail["call"] == {"method": "check_capacity", "arguments": [2], "options": {}}
    assert mark.detail["failed"].startswith("no load was recorded")


def test_a_check_that_is_called_wrongly_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="capacity"):
        Endpoint().check_lru(capacity=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("fails", [lambda: checks.check_evicted([], "a"), lambda: Endpoint().check_evicted("a")])
def test_a_check_fails_at_the_line_that_called_it(fails: Callable[[], None]) -> None:
    with pytest.raises(AssertionError) as caught:
        fails()
    assert caught.traceback.filter(caught)[-1].name == "<lambda>"
