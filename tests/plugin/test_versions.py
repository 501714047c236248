"""`--mme-tf`: a test that starts servers runs once on each TensorFlow that is asked for."""

from __future__ import annotations

import os

import pytest

from pytest_mme import versions

pytestmark = pytest.mark.slow

MODULE = """
    import pytest

    def test_asked(mme_server, mme_tf):
        assert mme_server().running.facts["tensorflow"] == mme_tf

    @pytest.mark.mme(tf=["2.12", "installed"])
    def test_marked(mme_server, mme_tf):
        assert mme_server().running.facts["tensorflow"] == mme_tf

    @pytest.mark.parametrize("mme_tf", ["2.15.1"], indirect=True)
    def test_by_itself(mme_server):
        assert mme_server().running.facts["tensorflow"] == "2.15.1"

    def test_without_servers(mme_settings):
        pass
"""


@pytest.mark.versions
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_tests_run_on_the_versions_of_the_option_or_of_their_mark(
    inner: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    inner.makepyfile(MODULE)
    result = inner.runpytest_subprocess("-v", "--mme-tf=2.12.1", "--mme-tf=installed", *arguments)
    result.assert_outcomes(passed=6)
    for name in ("asked[2.12.1]", f"asked[{versions.installed()}]", "marked[2.12]", "marked[installed]"):
        result.stdout.fnmatch_lines([f"*test_{name.replace('[', '[[]')} *"])


def test_without_option_and_mark_tests_run_once_on_the_installed_version(inner: pytest.Pytester) -> None:
    inner.makepyfile(MODULE)
    result = inner.runpytest_subprocess("-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*::test_asked PASSED*"])


def test_collecting_fetches_nothing(inner: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory) -> None:
    inner.makepyfile(MODULE)
    cache = tmp_path_factory.mktemp("cache")
    result = inner.runpytest_subprocess("--collect-only", "-q", "--mme-tf=2.13.0", f"--mme-cache={cache}")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*::test_asked[[]2.13.0]"])
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
@pytest.mark.parametrize("asked", ["latest", "2.13", "2.13.0"])
def test_an_unavailable_version_ends_the_run(
    inner: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    asked: str,
    arguments: tuple[str, ...],
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    inner.makepyfile(MODULE)
    cache = tmp_path_factory.mktemp("cache")
    result = inner.runpytest_subprocess(f"--mme-tf={asked}", f"--mme-cache={cache}", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *TensorFlow* cannot be had here", "*next:*pytest-mme tensorflow list*"])


@pytest.mark.parametrize("marked", ["'2.12.1'", "[]", "['2.4']", "None", "[2]"])
def test_a_mark_with_bad_versions_fails_its_own_test(inner: pytest.Pytester, marked: str) -> None:
    inner.makepyfile(
        f"""
        import pytest

        @pytest.mark.mme(tf={marked})
        def test_marked(mme_server):
            pass

        def test_fine():
            pass
        """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.mme(tf=…): *"])
