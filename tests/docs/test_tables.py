"""Every table of the documentation comes from the code, from recorded data, or from a test that measures it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_mme.checks.methods import Checked
from pytest_mme.faults.faults import Faults
from pytest_mme.serving.processes.handler import Context
from tests.docs.pages import MEASURED, PAGES, name_of, without_tables
from tools import make_docs
from tools.pages import FENCE

RECORDED = sorted(make_docs.RECORDED.glob("*.json"))
SOURCES = re.compile(r"(tests/[\w/.-]+|bench/[\w/.-]+|measured once|\*assumed\*|read in|decided)")


@pytest.fixture(scope="module", autouse=True)
def _fixtures_are_listed_once() -> Iterator[None]:
    """Listing the fixtures takes a run of pytest."""
    original = make_docs._pytest_fixtures
    make_docs._pytest_fixtures = functools.cache(original)
    yield
    make_docs._pytest_fixtures = original


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_tables_are_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert make_docs.rendered(page, text) == text, "run: python -m tools.make_docs --write"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_table_is_written_by_hand(page: Path) -> None:
    """A table of links is an exception: the tests of links judge it."""
    prose = FENCE.sub("", without_tables(page.read_text()))
    for table in re.findall(r"^\|.*\n\| ?-.*\n((?:\|.*\n)+)", prose, re.MULTILINE):
        assert all("](" in row for row in table.splitlines()), f"put this into docs/recorded/:\n{table}"


def test_every_table_that_the_tool_makes_is_shown() -> None:
    shown = {region["name"] for page in PAGES for region in make_docs.REGION.finditer(page.read_text())}
    assert set(make_docs.TABLES) <= shown


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.name)
def test_every_recorded_table_is_shown_and_names_its_source(file: Path) -> None:
    page = make_docs.ROOT / "docs" / f"{file.stem}.md"
    regions = {region["name"] for region in make_docs.REGION.finditer(page.read_text()) if region["kind"] == "recorded"}
    tables = make_docs.recorded(page)["tables"]
    assert regions == set(tables)
    for name, table in tables.items():
        for source in table.get("known_from") or [row[-1] for row in table["rows"]]:
            assert SOURCES.search(source), f"{name}: where is this known from? {source}"
            for path in re.findall(r"(?:tests|bench)/[\w/.-]+\w", source):
                assert (make_docs.ROOT / path).exists(), f"{name}: {path}"


def test_every_measured_table_is_compared_by_the_test_that_it_names() -> None:
    measured = {page: MEASURED.findall(page.read_text()) for page in PAGES}
    for page, tests in measured.items():
        for test in tests:
            assert page.name in (make_docs.ROOT / test).read_text()
    assert any(measured.values())


def test_every_field_of_the_context_is_described() -> None:
    described = {name for row in _rows("handlers", "context") for name in re.findall(r"`(\w+)`", row[0])}
    assert described == set(Context._fields)


def test_every_fault_has_a_row_for_the_runtimes() -> None:
    faults = {name for name in vars(Faults) if not name.startswith("_")}
    assert {re.findall(r"`(\w+)`", row[0])[0] for row in _rows("faults", "runtimes")} == faults


def test_every_check_is_a_method_of_servers_and_endpoints() -> None:
    assert [name for name in make_docs.check_names() if not hasattr(Checked, name)] == []


def _rows(page: str, table: str) -> list[list[str]]:
    rows: list[list[str]] = make_docs.recorded(make_docs.ROOT / "docs" / f"{page}.md")["tables"][table]["rows"]
    return rows
