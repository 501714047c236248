"""What pytest shows of a failing check: the test's own line, and none of the kit's."""

from __future__ import annotations

import pytest

TESTS = """
    from pytest_mme import checks
    from pytest_mme.checks.methods import Checked
    from pytest_mme.timeline.events import Timeline

    class Endpoint(Checked):
        name, recording = "ranking", Timeline()
        timeline = recording

    def test_a_method():
        Endpoint().check_lru()

    def test_a_function():
        checks.check_no_stall([], of=["a"])
"""


@pytest.mark.parametrize("style", ["long", "short", "line"])
def test_a_failing_check_is_shown_at_the_line_of_the_test(inner: pytest.Pytester, style: str) -> None:
    inner.makepyfile(test_it=TESTS)
    result = inner.runpytest_subprocess(f"--tb={style}")
    result.assert_outcomes(failed=2)
    shown = result.stdout.str()
    assert "no eviction had a choice of two models or more" in shown
    assert "no load of another model was recorded" in shown
    assert "pytest_mme/checks" not in shown
    result.stdout.fnmatch_lines(["*test_it.py:10: *", "*test_it.py:13: *"])
