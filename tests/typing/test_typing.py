"""A type checker finds a misspelt field and a wrong type, and knows what each factory returns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def mypy(path: Path, cache: Path) -> str:
    """What mypy reports of a file, in which an ignored line without an error is an error itself."""
    order = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", str(path)]
    return subprocess.run(order, cwd=HERE.parents[1], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def cache(pytestconfig: pytest.Config) -> Path:
    return Path(pytestconfig.cache.mkdir("mypy")) if pytestconfig.cache else HERE / ".mypy_cache"


@pytest.mark.parametrize(
    "path", [path for path in HERE.glob("[a-z]*.py") if path != Path(__file__)], ids=lambda path: path.name
)
def test_each_marked_line_is_an_error_of_that_kind_and_no_other_line_is(path: Path, cache: Path) -> None:
    assert mypy(path, cache) == "Success: no issues found in 1 source file\n"


def test_a_misspelt_field_is_reported_with_the_right_spelling(tmp_path: Path, cache: Path) -> None:
    test = tmp_path / "test_misspelt.py"
    test.write_text(
        "from pytest_mme import ServerFactory\n\n\n"
        "def test_server(mme_server: ServerFactory) -> None:\n"
        "    mme_server(memory_mb=300)\n"
    )
    assert 'test_misspelt.py:5: error: Unexpected keyword argument "memory_mb"' in (report := mypy(test, cache))
    assert 'did you mean "memory_mib"?' in report
