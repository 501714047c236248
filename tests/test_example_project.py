"""The example project's tests pass, as its model team would run them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import count_tests

PROJECT = Path(__file__).parent.parent / "example_project"
MODEL = PROJECT / ".models" / "basic-pitch"


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    """A copy of the project, current directory of the test."""
    shutil.copytree(PROJECT, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*cache*"))
    return pytester.path


def test_its_ranking_models(pytester: pytest.Pytester, project: Path) -> None:
    test_file = project / "tests" / "test_ranking.py"
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", test_file)
    result.assert_outcomes(passed=count_tests(test_file.read_text()), warnings=0)


def test_its_ranking_models_on_each_image(pytester: pytest.Pytester, project: Path, image: str) -> None:
    """multi-model-server takes seconds to start a worker: half of them show that it is served."""
    test_file = project / "tests" / "test_ranking.py"
    chosen = ("-k", "evicted or each_country or unknown") if "mms" in image else ()
    options = ("-p", "no:cacheprovider", "--mme-runtime=docker", f"--mme-image={image}", *chosen)
    result = pytester.runpytest_subprocess(*options, test_file)
    result.assert_outcomes(
        passed=3 if chosen else count_tests(test_file.read_text()), deselected=3 if chosen else 0, warnings=0
    )


def test_its_four_ways_to_write_a_handler(pytester: pytest.Pytester, project: Path) -> None:
    """Of each pair one fails as it is expected to, and the right one passes."""
    test_file = project / "tests" / "test_inference_handlers.py"
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", test_file)
    result.assert_outcomes(
        passed=count_tests(test_file.read_text()), xfailed=count_tests(test_file.read_text()), warnings=0
    )


@pytest.mark.skipif(not MODEL.exists(), reason="basic-pitch was not fetched: run make demo, or fetch_models.py there")
def test_its_published_model(pytester: pytest.Pytester, project: Path) -> None:
    test_file = project / "tests" / "test_basic_pitch.py"
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", test_file)
    result.assert_outcomes(passed=count_tests(test_file.read_text()), warnings=0)


def test_without_the_published_model_it_says_how_to_get_it(pytester: pytest.Pytester, project: Path) -> None:
    shutil.rmtree(project / ".models", ignore_errors=True)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "tests/test_basic_pitch.py")
    result.stdout.fnmatch_lines("SKIPPED*fetch it with: python fetch_models.py")


def test_it_uses_public_names_only(project: Path) -> None:
    used = {
        name
        for path in project.rglob("*.py")
        for name in re.findall(r"^(?:from|import) (pytest_mme[\w.]*)", path.read_text(), re.MULTILINE)
    }
    assert used <= {"pytest_mme", "pytest_mme.errors"}  # fixtures come by name
