"""Every Python block of the documentation runs as it stands, alone in an empty folder."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_mme.errors import UnavailableError
from tests.docs.pages import PAGES, Block, blocks, count_tests, name_of
from tests.lacking import lacking, needs_compiler
from tools.make_docs import ROOT

COMPILED = "docs/custom-ops.md"
TUTORIAL = "docs/tutorial.md"  # its blocks build on one another: see test_tutorial.py
LOCUST = "from locust import"  # run by tests/local/test_locust.py, in an environment that has Locust
SNIPPETS = [
    block for page in PAGES if name_of(page) != TUTORIAL for block in blocks(page, "python") if LOCUST not in block.text
]
TESTS = {name_of(block.page) for block in SNIPPETS if block.is_test}
SCRIPTS = [block for block in SNIPPETS if not block.is_test]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            marks=[
                *([] if page == "README.md" else [pytest.mark.slow]),
                *([needs_compiler] if page == COMPILED else []),
            ],
        )
        for page in sorted(TESTS)
    ],
)
def test_every_test_of_a_page_passes_without_a_warning(pytester: pytest.Pytester, page: str) -> None:
    found = [block for block in SNIPPETS if name_of(block.page) == page and block.is_test]
    for block in found:
        (pytester.path / block.file_name).write_text(block.text)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rs")
    outcomes = result.parseoutcomes()
    skipped = outcomes.pop("skipped", 0)
    passed = sum(count_tests(block.text) for block in found) - skipped
    assert outcomes == ({"passed": passed} if passed else {})
    if skipped:  # where another TensorFlow, or a memory cgroup, cannot be had
        lacking("; ".join(line for line in result.outlines if line.startswith("SKIPPED")))


def test_no_block_passes_over_a_fault_that_cannot_be_made() -> None:
    """`contextlib.suppress(UnavailableError)` leaves a test green that has tested nothing."""
    suppressing = re.compile(r"suppress\([^)]*UnavailableError")
    assert [name_of(page) for page in PAGES for block in blocks(page, "python") if suppressing.search(block.text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/faults.md", "docs/recipes.md"])
def test_a_test_whose_fault_cannot_be_made_does_not_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    found = [block for block in SNIPPETS if name_of(block.page) == page and UnavailableError.__name__ in block.text]
    assert found
    for block in found:
        (pytester.path / block.file_name).write_text(block.text)
    monkeypatch.setenv("PYTEST_MME_ENFORCEMENT", "sampled")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(skipped=len(found))
    result.stdout.fnmatch_lines(["SKIPPED*memory limit cannot be had here"] * len(found))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{name_of(script.page)}:{script.line}")
def test_every_script_runs(tmp_path: Path, script: Block) -> None:
    (tmp_path / script.file_name).write_text(script.text)
    subprocess.run([sys.executable, script.file_name], cwd=tmp_path, check=True, timeout=120)


def test_every_block_uses_only_what_it_imports_or_defines() -> None:
    """Blocks that a machine cannot run, for want of Locust or of another TensorFlow, are complete, too."""
    for page in PAGES:
        for block in blocks(page, "python"):
            assert undefined(block.text) == set(), f"{name_of(page)}:{block.line}"


def undefined(source: str) -> set[str]:
    """The names that a file uses and that nothing in it binds."""
    bound, used = set(dir(builtins)), set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used - bound


def test_a_whole_test_begins_by_line_8_of_the_readme() -> None:
    first = blocks(PAGES[0], "python")[0]
    assert first.is_test
    assert first.line <= 8


def test_every_block_is_formatted_as_the_code_is(tmp_path: Path) -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            (tmp_path / f"{page.stem}_{block.line}.py").write_text(block.text)
    config = ROOT / "pyproject.toml"
    command = [sys.executable, "-m", "ruff", "format", "--diff", "--config", str(config), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
