"""Checks with `soft=True` let a test go on, and fail it at its end."""

from __future__ import annotations

import pytest

EVENTS = """
    from pytest_mme.checks import check_evicted, check_evictions
    from pytest_mme.timeline.events import Event

    EVENTS = [Event(at_s=1.0, kind="invoke", source="test", model="a", seconds=0.5)]
"""


def test_a_test_goes_on_and_fails_at_its_end_with_all_soft_checks(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        EVENTS
        + """
    def test_it():
        check_evicted(EVENTS, "a", soft=True)
        check_evictions(EVENTS, at_least=1, soft=True)
        print("went on")
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*2 soft checks failed:", "*a was not evicted; *", "*0 evictions, and at least 1 must be: none", "went on"]
    )


def test_soft_checks_are_shown_beside_another_failure(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        EVENTS
        + """
    def test_it():
        check_evicted(EVENTS, "a", soft=True)
        raise OSError("something else")
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*OSError: something else", "*mme soft checks*", "a was not evicted; *"])


def test_a_soft_check_that_finds_nothing_passes_and_leaves_other_tests_alone(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        EVENTS
        + """
    def test_it():
        check_evictions(EVENTS, at_most=0, soft=True)

    def test_that_fails():
        check_evicted(EVENTS, "a", soft=True)

    def test_another():
        pass
    """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=2, failed=1)


@pytest.mark.parametrize("words", ["pytest.skip('no more')", "pytest.xfail('known')"])
def test_a_soft_check_that_failed_before_a_skip_fails_the_test(inner: pytest.Pytester, words: str) -> None:
    inner.makepyfile(
        EVENTS
        + f"""
    def test_it():
        import pytest

        check_evicted(EVENTS, "a", soft=True)
        {words}
    """
    )
    result = inner.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 soft checks failed:", "a was not evicted; *"])
