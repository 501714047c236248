"""A number or a cell that somebody falsifies is noticed: each is changed in turn, and some judgement must object."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, name_of
from tests.docs.test_numbers import HELD, NUMBER, complaints, prose
from tools import make_docs


@pytest.fixture(scope="module", autouse=True)
def _tables_are_made_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_docs, "TABLES", {name: functools.cache(make) for name, make in make_docs.TABLES.items()})
        patch.setattr(make_docs, "recorded_table", functools.cache(make_docs.recorded_table))
        yield


def falsified_numbers(text: str) -> Iterator[tuple[str, str]]:
    """The sentences once for each of their numbers, with another digit at the number's end; and what was changed."""
    for number in NUMBER.finditer(text):
        last = number.end() - 1
        other = str((int(text[last]) + 1) % 10)
        yield text[:last] + other + text[last + 1 :], text[max(0, last - 40) : last + 20]


def falsified_cells(text: str) -> Iterator[tuple[str, str]]:
    """The page once for each cell of its generated tables, with one character more; and what was changed."""
    for region in make_docs.REGION.finditer(text):
        for cell in re.finditer(r"(?<=\| )[^|\n]+(?= \|)", region["table"]):
            at = region.start("table") + cell.end()
            yield f"{text[:at]}x{text[at:]}", cell[0]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_falsified_cell_is_noticed(page: Path) -> None:
    unnoticed = [what for text, what in falsified_cells(page.read_text()) if make_docs.rendered(page, text) == text]
    assert unnoticed == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_falsified_number_is_noticed(page: Path) -> None:
    held = HELD.get(name_of(page), ())
    unnoticed = [what for text, what in falsified_numbers(prose(page.read_text())) if not list(complaints(text, held))]
    assert unnoticed == []
