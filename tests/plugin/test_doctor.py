"""`pytest --mme-doctor` collects each archive as a test."""

from __future__ import annotations

import shutil

import pytest

from pytest_mme import Models
from pytest_mme.models.builder import Model

pytestmark = pytest.mark.slow


@pytest.fixture
def archives(inner: pytest.Pytester, mme_models: Models) -> pytest.Pytester:
    """A folder with a good archive and two with findings."""
    good = mme_models.linear("good")
    for model in (
        good,
        mme_models.forge(good, "unversioned", "packed-wrong"),
        mme_models.forge(good, "op-decode-webp"),
    ):
        put(inner, model)
    return inner


def put(inner: pytest.Pytester, model: Model) -> None:
    (inner.path / "dist").mkdir(exist_ok=True)
    shutil.copy(model.archive, inner.path / "dist" / model.key)


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_each_archive_is_a_test(archives: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    result = archives.runpytest_subprocess("--mme-doctor", "dist", *arguments)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*packed-wrong.tar.gz",
            "*MME103 error: no numbered version at the top of the archive",
            "*next: put the SavedModel*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_archives_are_examined_for_the_versions_of_mme_tf(archives: pytest.Pytester) -> None:
    result = archives.runpytest_subprocess(
        "--mme-doctor", "--mme-tf=2.12.1", "--mme-tf=2.19.1", "dist/good-op-decode-webp.tar.gz", "dist/good.tar.gz"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*MME303 error: * on TensorFlow 2.12.1, 2.19.1"])
    result.stdout.no_fnmatch_line("*fetching*")


def test_without_the_option_archives_are_not_tests(archives: pytest.Pytester) -> None:
    assert archives.runpytest_subprocess("dist").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_damaged_archive_fails_its_own_test(archives: pytest.Pytester) -> None:
    (archives.path / "dist" / "cut.tar.gz").write_bytes(b"no archive")
    result = archives.runpytest_subprocess("--mme-doctor", "dist/cut.tar.gz", "dist/good.tar.gz")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*MME101 error: the archive cannot be unpacked*"])


def test_an_unknown_version_is_a_collection_error(archives: pytest.Pytester) -> None:
    result = archives.runpytest_subprocess("--mme-doctor", "--mme-tf=99.1.0", "dist/good.tar.gz")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nothing is known of TensorFlow 99.1.0: there is 2.5.3 to *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_versions_are_not_fetched_to_examine_archives(archives: pytest.Pytester) -> None:
    """Use an empty cache, which must stay empty."""
    result = archives.runpytest_subprocess(
        "--mme-doctor", "--mme-tf=2.16.1", "-n1", "dist/good.tar.gz", "--mme-cache=empty"
    )
    result.assert_outcomes(passed=1)
    assert not (archives.path / "empty" / "tensorflow").exists()
