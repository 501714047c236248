"""How results are shown: a table for people, Markdown for `RESULTS.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("RESULTS.md")
_STYLES = {"ok": "green", "MISSED": "bold red"}
_SECTION = re.compile(r"^## ", re.MULTILINE)

Lines = Sequence[Sequence[str]]


def show(console: Console, columns: Sequence[str], lines: Lines, facts: Mapping[str, str]) -> None:
    """The table, then the facts."""
    table = Table(*columns)
    for line in lines:
        table.add_row(*line, style=_STYLES.get(line[-1]) if line[-1] == "MISSED" else None)
    console.print(table)
    for name, fact in facts.items():
        console.print(f"{name}: {fact}", highlight=False)


def record(title: str, columns: Sequence[str], lines: Lines, facts: Mapping[str, str]) -> None:
    """Replace the section *title* of `RESULTS.md`."""
    head, *sections = _SECTION.split(RESULTS.read_text()) if RESULTS.exists() else ["# Results"]
    kept = [section for section in sections if not section.startswith(f"{title}\n")]
    listed = [f"- {name}: {fact}" for name, fact in facts.items()]
    new = "\n".join([title, "", *_markdown(columns, lines), "", *listed])
    RESULTS.write_text("\n\n## ".join(section.strip() for section in [head, *sorted([*kept, new])]) + "\n")


def _markdown(columns: Sequence[str], lines: Lines) -> Sequence[str]:
    rule = ["---"] * len(columns)
    return [f"| {' | '.join(_indented(cell) for cell in line)} |" for line in (columns, rule, *lines)]


def _indented(cell: str) -> str:
    """Markdown drops leading blanks."""
    inner = cell.lstrip(" ")
    return "&nbsp;" * (2 * (len(cell) - len(inner))) + inner
