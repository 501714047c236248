"""Where no TensorFlow is installed, the default version is fetched when a test needs it, and people see it."""

from __future__ import annotations

import pytest

from pytest_mme import versions

pytestmark = pytest.mark.slow

NONE_INSTALLED = """
    import contextlib
    from pathlib import Path

    from pytest_mme import versions
    from pytest_mme.errors import UnavailableError
    from pytest_mme.libtensorflow import version_cache, wheels
    from pytest_mme.libtensorflow.capi import installed_directory

    version, fetched = versions.installed(), Path(__file__).with_name("fetched")

    def none_installed():
        raise UnavailableError("the installed TensorFlow", "it is hidden by this test", "install it")

    @contextlib.contextmanager
    def from_the_index(asked, progress):
        assert asked == versions.DEFAULT
        with fetched.open("a") as lines:
            lines.write(f"{asked}\\n")
        if fetched.with_name("offline").exists():
            raise UnavailableError(f"TensorFlow {asked}", "no index is reached", "go online")
        progress(0.5)
        yield Path("wheel")

    def taken(_, target):
        for name in (wheels.CC, wheels.FRAMEWORK):
            (target / name).symlink_to(installed_directory() / name)

    versions.installed, versions.DEFAULT = none_installed, version
    wheels.fetched, wheels.unpack = from_the_index, taken
"""
MODULE = """
    def test_server(mme_server, mme_models, mme_tf):
        server = mme_server()
        assert mme_tf == server.running.facts["tensorflow"] == "{version}"
        server.load(mme_models.linear())

    def test_without_servers():
        pass
"""
BOTH = pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])


@pytest.fixture
def bare(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytester in whose runs no TensorFlow is installed, nor in the cache."""
    monkeypatch.setenv("PYTEST_MME_CACHE", str(inner.path / "cache"))
    inner.makeconftest(NONE_INSTALLED)
    inner.makepyfile(MODULE.format(version=versions.installed()))
    return inner


@BOTH
def test_without_tensorflow_a_version_is_fetched_once_and_shown(
    bare: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    result = bare.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=2)
    version = versions.installed()
    result.stdout.fnmatch_lines(
        [f"mme: *tensorflow {version} (fetched: none is installed)*", f"mme: fetching TensorFlow {version}"]
    )
    assert (bare.path / "fetched").read_text().splitlines() == [version]
    again = bare.runpytest_subprocess(*arguments)
    again.assert_outcomes(passed=2)
    again.stdout.no_fnmatch_line("mme: fetching*")


@BOTH
def test_tests_that_start_no_server_fetch_no_version(bare: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    bare.runpytest_subprocess("-k", "without", *arguments).assert_outcomes(passed=1)
    assert not (bare.path / "fetched").exists()


@BOTH
def test_when_the_version_cannot_be_fetched_other_tests_still_run(
    bare: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    (bare.path / "offline").touch()
    result = bare.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1, errors=0, failed=1)
    result.stdout.fnmatch_lines(["*no index is reached*"])


def test_a_keras_model_says_that_it_needs_the_package(bare: pytest.Pytester) -> None:
    bare.makepyfile("def test_keras(mme_models): mme_models.keras()")
    result = bare.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UnavailableError: the installed TensorFlow*"])


def test_installed_is_not_another(bare: pytest.Pytester) -> None:
    result = bare.runpytest_subprocess("--mme-tf=installed")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
