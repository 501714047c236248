"""The matrix of archives and versions, from events and as text."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from pytest_mme.report.matrix import Cell, Entry, Matrix, Verdict, document, first_line, judged, merged, show
from pytest_mme.timeline.events import Event, Timeline

RIGHT = {"identity": "m/1#1", "y": [3.0]}
KNOWN: dict[str, Any] = {"expected": {"identity": "m/1#1", "value": [3.0]}}
OLD, NEW = "2.12.1", "2.21.0"


def event(kind: Any, source: Any = "client", outcome: str = "ok", **detail: Any) -> Event:
    return Event(at_s=0.0, source=source, kind=kind, server="s", model="m", outcome=outcome, detail=detail)


LOADED, DOWNLOADED = event("load", archive="a"), event("download", "hosting", archive="a")


@pytest.mark.parametrize(
    ("events", "verdict", "why"),
    [
        ([LOADED], "loads", None),
        ([LOADED, event("load", outcome="409", archive="a")], "loads", None),
        ([LOADED, event("invoke", **KNOWN, got=RIGHT)], "answers", None),
        ([LOADED, event("invoke")], "answers", None),
        ([LOADED, event("invoke", outcome="400", error="bad\nworse")], "request fails", "bad"),
        ([LOADED, event("invoke", outcome="500", error="bad"), event("invoke")], "answers", None),
        ([LOADED, event("invoke", outcome="500", error="")], "request fails", "500"),
        ([LOADED, event("invoke", "test", outcome="ModelError")], "loads", None),
        ([event("load", outcome="500", archive="a", error="no op")], "does not load", "no op"),
        ([event("load", outcome="507", archive="a", error="full"), LOADED], "loads", None),
        ([event("load", outcome="no answer", archive="a")], "does not load", "no answer"),
        (
            [event("load", outcome="500", archive="a", error="no op"), event("invoke", error="?")],
            "does not load",
            "no op",
        ),
        ([DOWNLOADED, event("load", "hosting"), event("attempt", "hosting")], "answers", None),
        (
            [DOWNLOADED, event("load", "hosting"), event("attempt", "hosting", "424 ModelError", error="bad")],
            "request fails",
            "bad",
        ),
        ([DOWNLOADED, event("load", "hosting", "500", error="no op")], "does not load", "no op"),
        ([LOADED, event("load", "server", "500", error="seen twice")], "loads", None),
        ([LOADED, event("invoke", "server")], "answers", None),
    ],
)
def test_events_give_a_verdict_and_its_reason(events: list[Event], verdict: Verdict, why: str | None) -> None:
    (entry,) = judged(events, {"s": OLD})
    assert entry == Entry(model="m", archive="a", tensorflow=OLD, cell=Cell(verdict=verdict, why=why))


def test_one_wrong_answer_outweighs_right_ones() -> None:
    wrong = event("invoke", **KNOWN, got={**RIGHT, "y": [4.0]})
    for order in itertools.permutations([event("invoke", **KNOWN, got=RIGHT), wrong, event("invoke", "server")]):
        (entry,) = judged([LOADED, *order], {"s": OLD})
        assert entry.cell.verdict == "differs"
        assert entry.cell.why == (
            "answered {'identity': 'm/1#1', 'y': [4.0]}, not Answer({'identity': 'm/1#1', 'y': [3.0]})"
        )


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event("download", "hosting", "ValidationError", error="there is none")],
        [event("load", "server")],
        [event("invoke", error="not loaded", outcome="404")],
        [event("sample", "server"), event("crash", "server")],
    ],
    ids=["nothing", "no such archive", "an id that nobody named", "never loaded", "other events"],
)
def test_events_without_a_load_or_reply_give_no_verdict(events: list[Event]) -> None:
    assert judged(events, {"s": OLD}) == []


def test_an_archive_that_cannot_be_unpacked_does_not_load() -> None:
    (entry,) = judged([event("download", "hosting", "ValidationError", error="…", refused="a link")], {"s": OLD})
    assert entry.cell == Cell(verdict="does not load", why="a link")


def test_verdicts_are_by_archive_and_by_the_servers_version() -> None:
    replaced = [LOADED, event("invoke"), event("load", archive="b")]
    assert [(entry.archive, entry.cell.verdict) for entry in judged(replaced, {"s": OLD})] == [
        ("a", "answers"),
        ("b", "loads"),
    ]
    timeline = Timeline()
    for server in ("s", "t", "of unknown version"):
        timeline.record("load", source="client", server=server, model="m")
    assert [entry.tensorflow for entry in judged(timeline, {"s": OLD, "t": NEW})] == [OLD, NEW]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n  one \ntwo", "one"),
        ('{"error": "one\\ntwo"}', "one"),
        ('{"code": 500, "message": "one"}', "one"),
        ('{"error":"one\\ntwo, and cut o', "one"),
        ("[1]", "[1]"),
        (f"{'0' * 32} cannot be loaded: DATA_LOSS: /tmp/x/1/a.pb is bad", "DATA_LOSS: …/a.pb is bad"),
        (
            "NOT_FOUND: Op type not registered 'X' in binary running on host. Make sure …",
            "NOT_FOUND: Op type not registered 'X'",
        ),
    ],
)
def test_a_reason_is_the_first_line_without_what_changes_from_run_to_run(text: str, line: str) -> None:
    assert first_line(text) == line


def entry(model: str, tensorflow: str, verdict: Verdict, why: str | None = None, archive: str | None = "a") -> Entry:
    return Entry(model=model, archive=archive, tensorflow=tensorflow, cell=Cell(verdict=verdict, why=why))


def test_an_entry_is_equal_after_json() -> None:
    entries = entry("m", OLD, "differs", "answered ü")
    assert Entry.from_json(entries.to_json()) == entries


def test_the_order_in_which_tests_end_does_not_matter() -> None:
    entries = [
        entry("m", NEW, "answers"),
        entry("m", "2.9.3", "does not load", "no op"),
        entry("m", OLD, "request fails", "one"),
        entry("m", OLD, "request fails", "another"),
        entry("k", OLD, "loads", archive="b"),
    ]
    found = merged(entries, ["2.15.1"])
    assert all(merged(order, ["2.15.1"]) == found for order in itertools.permutations(entries))
    assert found.versions == ("2.9.3", OLD, "2.15.1", NEW)
    assert [row.label for row in found.rows] == ["k", "m"]
    assert found.rows[1].cells[OLD].why == "another"


def test_archives_of_one_name_have_rows_of_their_own_and_unseen_ones_join_the_only_one() -> None:
    assert [row.label for row in merged([entry("m", OLD, "loads"), entry("m", NEW, "loads", archive="b")]).rows] == [
        "m (a)",
        "m (b)",
    ]
    (row,) = merged([entry("m", OLD, "loads"), entry("m", NEW, "does not load", "?", archive=None)]).rows
    assert set(row.cells) == {OLD, NEW}
    rows = merged([entry("m", OLD, "loads", archive=name) for name in ("a", "b", None)]).rows
    assert [row.label for row in rows] == ["m (unknown)", "m (a)", "m (b)"]


def test_the_document_is_json_of_every_cell() -> None:
    found = merged([entry("m", OLD, "loads"), entry("k", NEW, "does not load", "no op")])
    assert json.loads(json.dumps(document(found))) == {
        "tensorflow": [OLD, NEW],
        "archives": [
            {"model": "k", "archive": "a", "on": {NEW: {"verdict": "does not load", "why": "no op"}}},
            {"model": "m", "archive": "a", "on": {OLD: {"verdict": "loads", "why": None}}},
        ],
    }


class Paper:
    """Return what is written to a terminal of this width."""

    def __init__(self, fullwidth: int) -> None:
        self.fullwidth, self.text, self.coloured = fullwidth, "", list[tuple[str, str]]()

    def write(self, msg: str, **markup: bool) -> None:
        self.text += msg
        self.coloured += [(msg.strip(), colour) for colour in markup]

    def line(self, s: str = "", **markup: bool) -> None:
        self.write(f"{s}\n", **markup)


def printed(matrix: Matrix, width: int = 80) -> str:
    paper = Paper(width)
    show(matrix, paper)
    return paper.text.removesuffix("\n")


def test_the_table_shows_verdicts_and_numbers_the_reasons() -> None:
    no_op = "NOT_FOUND: Op type not registered 'DisableCopyOnRead'"
    entries = [
        *(entry("keras", version, "does not load", no_op) for version in ("2.5.3", "2.6.0")),
        entry("keras", NEW, "answers"),
        entry("counter", NEW, "differs", "answered 1, not 2"),
    ]
    assert printed(merged(entries)) == (
        "         2.5.3                   2.6.0                   2.21.0\n"
        "counter  -                       -                       [1] differs\n"
        "keras    [2] Op type not regis…  [2] Op type not regis…  answers\n"
        "[1] differs: answered 1, not 2\n"
        f"[2] does not load: {no_op}"
    )


def test_many_versions_are_shown_one_block_below_the_other() -> None:
    versions = [f"2.{minor}.0" for minor in range(5, 22)]
    lines = printed(merged(entry("m", version, "does not load", "for a reason") for version in versions)).splitlines()
    assert len(lines) == 2 * 4 + 1
    assert max(map(len, lines)) <= 80
    assert [version for line in lines[:-1:2] for version in line.split()] == versions


def test_verdicts_have_colours() -> None:
    paper = Paper(80)
    show(merged([entry("m", OLD, "answers"), entry("m", NEW, "does not load", "no op")], ["2.15.1"]), paper)
    assert paper.coloured == [("answers", "green"), ("[1] no op", "red")]
