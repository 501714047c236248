"""The example project's tests pass, as its model team would run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import count_tests
from tests.foreign.models import ForeignModels
from tests.lacking import lacking

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent / "example_project"
FETCHED = Path(".models", "basic-pitch")


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


HANDLER_TESTS = PROJECT / "tests" / "test_inference_handlers.py"


@pytest.mark.parametrize("test", re.findall(r"^def (test_\w+)", HANDLER_TESTS.read_text(), re.MULTILINE))
def test_of_its_ways_to_write_a_handler_one_fails_as_expected_and_the_right_one_passes(
    pytester: pytest.Pytester, project: Path, test: str
) -> None:
    test_file = project / "tests" / HANDLER_TESTS.name
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", f"{test_file}", "-k", test)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["xfailed"]) == (1, 1)
    assert outcomes.keys() <= {"passed", "xfailed", "deselected"}


def test_its_published_model(pytester: pytest.Pytester, project: Path, foreign: ForeignModels) -> None:
    shutil.copytree(foreign("basic_pitch") / "1", project / FETCHED, dirs_exist_ok=True)
    test_file = project / "tests" / "test_basic_pitch.py"
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", test_file)
    result.assert_outcomes(passed=count_tests(test_file.read_text()), warnings=0)


def test_its_script_fetches_the_published_model(project: Path, foreign: ForeignModels) -> None:
    shutil.rmtree(project / ".models", ignore_errors=True)
    expected = foreign("basic_pitch") / "1"
    done = subprocess.run([sys.executable, "fetch_models.py"], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"fetch_models.py could not fetch basic-pitch: {done.stderr[-300:]}")
    assert (project / FETCHED / "saved_model.pb").read_bytes() == (expected / "saved_model.pb").read_bytes()


def test_without_the_published_model_it_says_how_to_get_it(pytester: pytest.Pytester, project: Path) -> None:
    shutil.rmtree(project / ".models", ignore_errors=True)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "tests/test_basic_pitch.py")
    result.stdout.fnmatch_lines("SKIPPED*fetch it with: python fetch_models.py")


def test_the_example_project_uses_public_names_only(project: Path) -> None:
    used = {
        name
        for path in project.rglob("*.py")
        for name in re.findall(r"^(?:from|import) (pytest_mme[\w.]*)", path.read_text(), re.MULTILINE)
    }
    assert used <= {"pytest_mme", "pytest_mme.errors"}  # fixtures come by name
