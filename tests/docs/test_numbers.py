"""Every number in a sentence of the documentation is held by the code, by a record, or by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.held import CODE, Held, all_held
from tests.docs.pages import PAGES, name_of, without_tables
from tools.make_docs import ROOT
from tools.pages import FENCE

NUMBER = re.compile(r"(?<![\w-])\d+(?:\.\d+)*(?:e-\d+)?(?: \d{3})*(?![A-Za-z])")
"""Not part of a name, such as S3, UTF-8 or x86-64."""
HELD = all_held()
SOURCE = re.compile(r"(?:tests|tools|pytest_mme)/[\w/.]+\w")


def prose(text: str) -> str:
    """The sentences of a page: without blocks of code, tables, comments, links and the numbers of headings."""
    text = FENCE.sub("", without_tables(text))
    text = re.sub(r"<!--.*?-->|\]\([^)]*\)|^## \d\.", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\s+", " ", text)


def complaints(text: str, held: tuple[Held, ...]) -> Iterator[str]:
    """What is wrong with the numbers of a page."""
    sentences = prose(text)
    covered = set[int]()
    for phrase in (one.phrase for one in held):
        places = [found.start() for found in re.finditer(re.escape(phrase), sentences)]
        if not places:
            yield f"is no longer there, or is not what its source says: {phrase}"
        covered |= {at for place in places for at in range(place, place + len(phrase))}
    for number in NUMBER.finditer(sentences):
        if not set(range(*number.span())) <= covered:
            around = sentences[max(0, number.start() - 30) : number.end() + 30]
            yield f"nothing holds {number[0]} in …{around}…: add it to tests/docs/held.py"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_number_is_held(page: Path) -> None:
    assert list(complaints(page.read_text(), HELD.get(name_of(page), ()))) == []


def test_every_page_with_phrases_exists() -> None:
    assert set(HELD) <= set(map(name_of, PAGES))


def test_every_source_that_is_a_file_exists() -> None:
    named = {path for held in HELD.values() for one in held for path in SOURCE.findall(one.by)}
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert any(one.by == CODE for held in HELD.values() for one in held)
