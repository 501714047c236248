"""What the pages in docs/ show is what runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_mme import checks
from pytest_mme.checks.methods import Checked
from pytest_mme.serving.processes.handler import Context

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_is_part_of_a_file_that_runs(page: Path) -> None:
    sources = [path.read_text() for path in (ROOT / "tests" / "examples").glob("*.py")]
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        assert any(block in source for source in sources), f"no file in tests/examples has this:\n{block}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https?://|#)[^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_field_of_the_context_is_described() -> None:
    described = (ROOT / "docs" / "handlers.md").read_text()
    assert [name for name in Context._fields if f"`{name}`" not in described] == []


def test_every_check_is_described() -> None:
    page = (ROOT / "docs" / "checks.md").read_text()
    for name in checks.__all__:
        if name.startswith("check_"):
            row = f"| `{name}` | {(getattr(checks, name).__doc__ or '').splitlines()[0]} |"
            assert row in page, f"put this into docs/checks.md: {row}"
            assert hasattr(Checked, name), name
