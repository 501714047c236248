"""Checks with ``soft=True`` let a test go on, and fail it at its end."""

from __future__ import annotations

from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test with all that its soft checks have found; beside another failure, add a section."""
    from pytest_mme.checks.soft import soft_checks

    with soft_checks() as found:
        try:
            result = yield
        except (pytest.skip.Exception, pytest.xfail.Exception):
            if not found:
                raise
        except BaseException:
            if found:
                item.add_report_section("call", "mme soft checks", "\n".join(map(str, found)))
            raise
        else:
            if not found:
                return result
    lines = "\n".join(map(str, found))
    return pytest.fail(f"{len(found)} soft checks failed:\n{lines}", pytrace=False)
