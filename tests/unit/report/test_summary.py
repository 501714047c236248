"""The table of servers and endpoints in the terminal."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_mme.report.summary import Summary, show

ONE = Summary(
    server="server-22",
    test="tests/test_a.py::TestIt::test_the_price_list_is_complete[a::b]",
    requests=1234,
    failed=0,
    hits=1,
    evictions=0,
    ooms=0,
    crashes=0,
    p50_ms=None,
    p99_ms=1.25,
    loads=[("a", 0.5)],
)


class Terminal:
    def __init__(self, width: int) -> None:
        self.fullwidth, self.lines = width, list[str]()

    def line(self, s: str = "", **markup: bool) -> None:
        self.lines.append(s)


def test_rows_can_be_told_apart_in_a_narrow_terminal() -> None:
    terminal = Terminal(80)
    show([ONE, dataclasses.replace(ONE, server="server-23")], terminal)
    head, name, numbers, other, *_ = terminal.lines
    assert max(map(len, terminal.lines)) <= 80
    assert name == "test_the_price_list_is_complete[a::b], server-22"
    assert other == "test_the_price_list_is_complete[a::b], server-23"
    assert numbers.split() == ["1234", "0", "1", "0", "0", "0", "-", "1.2"]
    assert head.split() == [
        "test,",
        "server",
        "requests",
        "failed",
        "hits",
        "evicted",
        "OOMs",
        "crashes",
        "p50",
        "ms",
        "p99",
        "ms",
    ]
    assert head.index("requests") + len("requests") == numbers.index("1234") + 4
    assert terminal.lines[-1] == "  slowest loads: a 500 ms, a 500 ms"


@pytest.mark.parametrize("width", [160, 200])
def test_a_wide_terminal_shows_each_in_one_line(width: int) -> None:
    terminal = Terminal(width)
    show([ONE], terminal)
    _, line, _ = terminal.lines
    assert line.startswith("test_the_price_list_is_complete[a::b], server-22  ")
    assert line.endswith("1.2")


def test_no_name_is_wider_than_the_terminal() -> None:
    terminal = Terminal(80)
    show([dataclasses.replace(ONE, test="test_" + "x" * 100)], terminal)
    assert max(map(len, terminal.lines)) <= 80
