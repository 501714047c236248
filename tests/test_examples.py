"""What the docs show is what runs: each example is copied out of here and run as a user would."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent / "examples"
TEST_FILES = sorted(path.name for path in EXAMPLES.glob("test_*.py"))
SCRIPTS = sorted({path.name for path in EXAMPLES.glob("*.py")} - {*TEST_FILES, "locustfile.py"})  # see test_locust.py


def count_tests(path: Path) -> int:
    """How many tests a file defines."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return sum(node.name.startswith("test_") for node in found)


@pytest.mark.parametrize("name", TEST_FILES)
def test_every_test_of_an_example_passes_without_a_warning(pytester: pytest.Pytester, name: str) -> None:
    copy = pytester.path / name
    copy.write_text((EXAMPLES / name).read_text())
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", name)
    result.assert_outcomes(passed=count_tests(copy), warnings=0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_runs(tmp_path: Path, name: str) -> None:
    subprocess.run([sys.executable, EXAMPLES / name], cwd=tmp_path, check=True, timeout=120)
