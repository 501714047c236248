"""Which archive runs on which TensorFlow: gathered from the events of many tests, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

from packaging.version import Version

from pytest_mme import answers
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import LOADED

Verdict = Literal["differs", "answers", "request fails", "loads", "does not load"]
"""*differs*: a prediction was not the expected one; *answers*: all were; *request fails*: none succeeded after a load."""
_WEIGHT = {verdict: -place for place, verdict in enumerate(get_args(Verdict))}
_COLOURS: Mapping[Verdict, str] = {"differs": "yellow", "answers": "green", "loads": "green"}

_NOISE = (
    (r"\b[0-9a-f]{32} cannot be loaded: ", ""),
    (r"Converting GraphDef to Graph has failed with an error: '", ""),
    (r" in binary running on .*", ""),
    (r"/[^\s'\"]*/(?=[\w.-]+)", "…/"),
)
_MOST_CHARACTERS, _WIDEST, _NARROWEST, _GAP = 1000, 32, 12, 2  # characters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """What one archive did on one version."""

    verdict: Verdict
    why: str | None = None
    """The first line of the error; for *differs*, what was predicted. None where there is nothing to explain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What an archive did on a version of TensorFlow in one test."""

    model: str
    archive: str | None
    """Its checksum, which distinguishes archives of one name; None where it was not seen."""
    tensorflow: str
    cell: Cell

    def to_json(self) -> str:
        """Return one line of JSON."""
        named = {"model": self.model, "archive": self.archive, "tensorflow": self.tensorflow}
        return json.dumps(named | dataclasses.asdict(self.cell))

    @classmethod
    def from_json(cls, line: str) -> Entry:
        """Return the entry that `to_json` wrote."""
        fields = json.loads(line)
        return cls(cell=Cell(verdict=fields.pop("verdict"), why=fields.pop("why")), **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One archive, on every version."""

    model: str
    archive: str | None
    label: str
    """The model's name, and which of the archives of that name it is, where there are several."""
    cells: Mapping[str, Cell]
    """The cells by version, without the versions that no test has tried it on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """All archives by name, and all versions ascending."""

    versions: tuple[str, ...]
    rows: tuple[Row, ...]


def better(one: Cell | None, other: Cell) -> Cell:
    """Return the cell whose verdict comes first in `Verdict`; the first of two with the same verdict."""
    return one if one is not None and _WEIGHT[one.verdict] >= _WEIGHT[other.verdict] else other


def judged(events: Iterable[Event], versions: Mapping[str, str]) -> list[Entry]:
    """Return the entries of one test's events. *versions*: which TensorFlow each of its servers runs, by name."""
    stories: dict[tuple[str, str], _Story] = {}
    cells: dict[tuple[str, str | None, str], Cell] = {}
    for event in events:
        version = versions.get(event.server or "")
        if event.model is None or version is None:
            continue
        story = stories.setdefault((event.server or "", event.model), _Story())
        if cell := story.follow(event):
            place = (event.model, story.archive, version)
            cells[place] = better(cells.get(place), cell)
    return [
        Entry(model=model, archive=archive, tensorflow=on, cell=cell) for (model, archive, on), cell in cells.items()
    ]


class _Story:
    """One model on one server, followed through its events."""

    def __init__(self) -> None:
        self.archive: str | None = None
        self._loaded = False
        """Whether the latest load worked. It is not residency: the request that a death breaks off counts, too."""

    def follow(self, event: Event) -> Cell | None:
        """Return what an event shows of the archive; the server's own events of a load are the client's again."""
        if event.kind in ("download", "load") and event.source in ("client", "hosting"):
            self.archive = event.detail.get("archive", self.archive)
            self._loaded = event.kind == "load" and event.outcome in LOADED
            if self._loaded:
                return Cell(verdict="loads")
            why = event.detail.get("refused" if event.kind == "download" else "error")
            if event.kind == "download" and why is None:  # it is there, or missing, which shows nothing of it
                return None
            return Cell(verdict="does not load", why=first_line(str(why or "")) or event.outcome)
        if event.kind in ("invoke", "attempt") and self._loaded:
            return _request(event)
        return None


def _request(event: Event) -> Cell | None:
    detail = event.detail
    if event.outcome != "ok":
        error = detail.get("error")  # only hosting's event of a request has the error
        return None if error is None else Cell(verdict="request fails", why=first_line(str(error)) or event.outcome)
    if not {"expected", "got"} <= detail.keys() or answers.recorded(detail["expected"]) == detail["got"]:
        return Cell(verdict="answers")
    why = f"answered {detail['got']!r}, not {answers.recorded(detail['expected'])!r}"
    return Cell(verdict="differs", why=_cut(why, _MOST_CHARACTERS))


def first_line(text: str) -> str:
    """Return the first line of an error, without its JSON and what changes from run to run: ids, folders, host names."""
    line = next((line.strip() for line in _message(text).splitlines() if line.strip()), "")
    for pattern, replacement in _NOISE:
        line = re.sub(pattern, replacement, line)
    return line[:_MOST_CHARACTERS]


def _message(text: str) -> str:
    try:
        read = json.loads(text)
    except ValueError:  # not JSON, or only the beginning of it
        return re.sub(r'^\s*\{\s*"error"\s*:\s*"', "", text).partition("\\n")[0]
    found = read.get("error", read.get("message")) if isinstance(read, dict) else None
    return found if isinstance(found, str) else text


def merged(entries: Iterable[Entry], versions: Iterable[str] = ()) -> Matrix:
    """Return the matrix of entries in any order. *versions*: columns that it has in any case."""
    found = sorted(entries, key=lambda entry: (entry.model, entry.archive or "", entry.cell.why or ""))
    archives: dict[str, set[str]] = {}
    for entry in found:
        archives.setdefault(entry.model, set()).update(filter(None, [entry.archive]))
    rows: dict[tuple[str, str | None], dict[str, Cell]] = {}
    for entry in found:
        alone = next(iter(archives[entry.model]), None) if len(archives[entry.model]) == 1 else None
        cells = rows.setdefault((entry.model, entry.archive or alone), {})
        cells[entry.tensorflow] = better(cells.get(entry.tensorflow), entry.cell)
    columns = sorted({*versions, *(entry.tensorflow for entry in found)}, key=Version)
    names = [model for model, _ in rows]
    labelled = [
        Row(
            model=model,
            archive=archive,
            label=model if names.count(model) == 1 else f"{model} ({(archive or 'unknown')[:8]})",
            cells=cells,
        )
        for (model, archive), cells in rows.items()
    ]
    return Matrix(versions=tuple(columns), rows=tuple(labelled))


def document(matrix: Matrix) -> dict[str, Any]:
    """Return the whole matrix for JSON."""
    archives = [
        {
            "model": row.model,
            "archive": row.archive,
            "on": {on: dataclasses.asdict(row.cells[on]) for on in matrix.versions if on in row.cells},
        }
        for row in matrix.rows
    ]
    return {"tensorflow": list(matrix.versions), "archives": archives}


class Terminal(Protocol):
    """What is used of pytest's terminal writer."""

    fullwidth: int

    def line(self, s: str = "", **markup: bool) -> None:
        """Write a line."""

    def write(self, msg: str, **markup: bool) -> None:
        """Write a part of a line."""


def show(matrix: Matrix, terminal: Terminal) -> None:
    """Write the table, as many versions at once as fit side by side, and below it the reasons, by their numbers."""
    cells = (row.cells[version] for row in matrix.rows for version in matrix.versions if version in row.cells)
    reasons = dict.fromkeys((cell.verdict, cell.why) for cell in cells if cell.why is not None)
    notes = {reason: number for number, reason in enumerate(reasons, start=1)}
    fit = max(1, (terminal.fullwidth - _label_width(matrix)) // (_NARROWEST + _GAP))
    for first in range(0, len(matrix.versions), fit):
        _show(matrix, matrix.versions[first : first + fit], notes, terminal)
    for (verdict, why), number in notes.items():
        terminal.line(f"[{number}] {verdict}: {why}")


def _label_width(matrix: Matrix) -> int:
    return max(len(row.label) for row in matrix.rows)


def _show(matrix: Matrix, columns: Sequence[str], notes: Mapping[tuple[Verdict, str], int], terminal: Terminal) -> None:
    labels = _label_width(matrix)
    most = max(_NARROWEST, min(_WIDEST, (terminal.fullwidth - labels) // len(columns) - _GAP))
    lines = {row.label: [_cut(_text(row.cells.get(on), notes), most) for on in columns] for row in matrix.rows}
    widths = [_GAP + max(map(len, column)) for column in zip(columns, *lines.values(), strict=True)]
    widths[-1] = 0  # no blanks behind the last
    terminal.line(" " * labels + "".join(map(_behind, columns, widths)))
    for row in matrix.rows:
        terminal.write(row.label.ljust(labels))
        for on, text, width in zip(columns, lines[row.label], widths, strict=True):
            cell = row.cells.get(on)
            terminal.write(_behind(text, width), **({_COLOURS.get(cell.verdict, "red"): True} if cell else {}))
        terminal.line()


def _behind(text: str, width: int) -> str:
    """Return *text* with a gap before it."""
    return " " * _GAP + text.ljust(width - _GAP)


def _text(cell: Cell | None, notes: Mapping[tuple[Verdict, str], int]) -> str:
    """Return the text of a cell: the verdict, or the number and beginning of the reason."""
    if cell is None:
        return "-"
    if cell.why is None:
        return cell.verdict
    number = notes[cell.verdict, cell.why]
    if cell.verdict == "differs":
        return f"[{number}] differs"
    return f"[{number}] {re.sub(r'^[A-Z_]+: ', '', cell.why)}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
