"""What the documentation shows of outputs is what the code makes of the same data."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from pytest_mme.cli import fit
from pytest_mme.measuring.capacity import Candidate, Measured, Need
from pytest_mme.models.builder import Model
from pytest_mme.report import matrix
from tests.docs.pages import blocks
from tools.make_docs import ROOT, recorded

MIB = 1 << 20


def sample(page: Path, language: str = "text") -> str:
    """The only block of a page in that language."""
    (block,) = blocks(page, language)
    return block.text


def run_of(page: Path) -> Any:
    return recorded(page)["run"]


def test_the_table_of_fit_is_what_the_command_prints() -> None:
    page = ROOT / "docs" / "fit.md"
    *alone, together = [(row[0], need(*row[1:])) for row in run_of(page)["rows"]]
    found = fit._Found(
        tensorflow=run_of(page)["tensorflow"],
        concurrency=4,
        broken={},
        measured=[measured(label, one) for label, one in alone],
        together=together[1],
        verdict=None,
    )
    printed = io.StringIO()
    Console(file=printed, width=80).print(fit._table(found))
    assert [line.rstrip() for line in printed.getvalue().splitlines()] == sample(page).splitlines()


def need(loaded: float, asked: float, busy: float) -> Need:
    return Need(loaded_bytes=round(loaded * MIB), asked_bytes=round(asked * MIB), busy_bytes=round(busy * MIB))


def measured(label: str, seen: Need) -> Measured:
    model = Model(name=label, spec=None, archive=Path(label))
    return Measured(candidate=Candidate(label=label, model=model, request=None), need=seen)


def shown_matrix() -> matrix.Matrix:
    rows = run_of(ROOT / "docs" / "versions-matrix.md")["rows"]
    entries = (
        matrix.Entry(model=model, archive=archive, tensorflow=on, cell=matrix.Cell(verdict=verdict, why=why))
        for model, archive, on, verdict, why in rows
    )
    return matrix.merged(entries)


def test_the_matrix_is_what_a_run_prints() -> None:
    written = io.StringIO()
    matrix.show(shown_matrix(), Writer(written))
    title, *lines = sample(ROOT / "docs" / "versions-matrix.md").splitlines()
    assert "mme: which archive runs on which TensorFlow" in title
    assert [line.rstrip() for line in written.getvalue().splitlines()] == lines


class Writer:
    """A terminal of 80 columns."""

    fullwidth = 80

    def __init__(self, to: io.StringIO) -> None:
        self._to = to

    def line(self, s: str = "", **_: bool) -> None:
        self._to.write(f"{s}\n")

    def write(self, msg: str, **_: bool) -> None:
        self._to.write(msg)


def test_the_document_is_what_a_run_writes() -> None:
    shown = json.loads(sample(ROOT / "docs" / "versions-matrix.md", "json"))["matrix"]
    written = matrix.document(shown_matrix())
    assert shown["tensorflow"] == written["tensorflow"]
    assert shown["archives"] == [row for row in written["archives"] if row["model"] == "keras"]


def test_the_header_is_what_pytest_prints() -> None:
    written = r"mme: runtime local, tensorflow \d+\.\d+\.\d+, on the CPU, memory limits by memory cgroup v1"
    assert re.fullmatch(written, sample(ROOT / "README.md").strip())
