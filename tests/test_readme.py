"""The README shows what runs and says what the code says."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_mme.settings import OPTIONS, Option

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_a_whole_test_begins_by_line_8() -> None:
    assert any(line.startswith("def test_") for line in README.splitlines()[:8])


def test_the_first_example_is_a_file_that_runs() -> None:
    source = (ROOT / "tests" / "examples" / "test_eviction.py").read_text()
    (function,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    assert BLOCKS[0].strip() == ast.get_source_segment(source, function)


def test_every_other_example_is_part_of_a_file_that_runs() -> None:
    sources = [path.read_text() for path in (ROOT / "tests" / "examples").glob("*.py")]
    for block in BLOCKS[1:]:
        assert any(block in source for source in sources), f"no file in tests/examples has this:\n{block}"


def test_every_target_of_make_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_table_of_fixtures_is_what_pytest_says(pytester: pytest.Pytester) -> None:
    lines = pytester.runpytest("--fixtures", "-p", "no:cacheprovider").outlines
    found = {
        int(head[3]): (f"`{head[1]}`", head[2] or "function", described.strip())
        for line, described in itertools.pairwise(lines)
        if (head := re.match(r"(mme_\w+)(?: \[(\w+) scope\])? -- .*:(\d+)$", line))
    }
    assert len(found) >= 6
    expect_table(("fixture", "scope", "what a test gets"), [found[number] for number in sorted(found)])


def test_the_table_of_options_is_what_the_code_takes() -> None:
    rows = [
        (" ".join(filter(None, (f"`{option.flag_name}", option.metavar))) + "`", default(option), option.help)
        for option in OPTIONS
    ]
    expect_table(("option", "default", "what it does"), rows)


def default(option: Option) -> str:
    """As the README says it: without a path of this machine."""
    if isinstance(option.default, Path):
        return "the user's cache folder"
    return "off" if option.flag else f"`{option.default_text}`"


def expect_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Fail unless the README has this table."""
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
    assert table in README, f"put this into README.md:\n\n{table}\n"
