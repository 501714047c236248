"""What only an option needs may be missing: the option says so before any test has run."""

from __future__ import annotations

import pytest

HIDDEN = "import sys; sys.modules[{!r}] = None"


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_page_that_cannot_be_made_ends_the_run_at_once(inner: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    inner.makeconftest(HIDDEN.format("plotly"))
    inner.makepyfile("def test_fine(): pass")
    result = inner.runpytest_subprocess("--mme-report=page.html", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the report's page cannot be had here", "*pip install 'pytest-mme[[]report]'"])


def test_the_other_report_needs_none_of_it(inner: pytest.Pytester) -> None:
    inner.makeconftest(HIDDEN.format("plotly"))
    inner.makepyfile("def test_fine(): pass")
    inner.runpytest_subprocess("--mme-report=report.json").assert_outcomes(passed=1)


def test_a_container_runtime_without_docker_names_the_extra(inner: pytest.Pytester) -> None:
    inner.makeconftest(HIDDEN.format("docker"))
    inner.makepyfile("def test_server(mme_server): mme_server()")
    result = inner.runpytest_subprocess("--mme-runtime=docker", "--mme-image=any")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pip install 'pytest-mme[[]docker]'*"])


def test_a_doctor_without_its_packages_names_the_extra(inner: pytest.Pytester) -> None:
    inner.makeconftest(HIDDEN.format("google_crc32c"))
    inner.makepyfile(
        "def test_build(mme_models, request): "
        "mme_models.keras().archive.replace(request.path.with_name('model.tar.gz'))"
    )
    inner.runpytest_subprocess().assert_outcomes(passed=1)
    result = inner.runpytest_subprocess("--mme-doctor", "model.tar.gz")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pip install 'pytest-mme[[]doctor]'*"])
    result.stdout.no_fnmatch_line("*Traceback*")
