"""`@pytest.mark.mme(…)`: a test's defaults for the factories."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from pytest_mme import versions
from pytest_mme.factories import EndpointFields, ServerFields

VERSIONS = "tf"
"""A list: the test runs once on each of these TensorFlow versions, whatever `--mme-tf` is."""
SERVER_FIELDS = frozenset(ServerFields.__annotations__) - {VERSIONS}
ENDPOINT_FIELDS = (frozenset(EndpointFields.__annotations__) - set(ServerFields.__annotations__) - {"name"}) | {"fits"}
"""Without the name, which two endpoints of one test cannot share."""
KNOWN = SERVER_FIELDS | ENDPOINT_FIELDS | {VERSIONS}

DESCRIPTION = f"mme(**fields): defaults for the mme_… factories of this test; fields: {', '.join(sorted(KNOWN))}"


def complaint(item: pytest.Item) -> str | None:
    """Describe what is wrong with the marks of a test; None when nothing is."""
    odd = sorted({name for mark in item.iter_markers("mme") for name in mark.kwargs} - KNOWN)
    if odd:
        return f"@pytest.mark.mme does not know {', '.join(odd)}; it takes {', '.join(sorted(KNOWN))}"
    try:
        asked_versions(item)
    except ValueError as error:
        return f"@pytest.mark.mme({VERSIONS}=…): {error}"
    if any(mark.args for mark in item.iter_markers("mme")):
        return f"@pytest.mark.mme takes keyword arguments only: {', '.join(sorted(KNOWN))}"
    return None


def asked_versions(item: pytest.Item) -> tuple[str, ...]:
    """The TensorFlow versions of the nearest mark with `tf=`; raises ValueError when that is not a list of versions."""
    for mark in item.iter_markers("mme"):
        if VERSIONS in mark.kwargs:
            asked = mark.kwargs[VERSIONS]
            if isinstance(asked, str) or not asked:
                raise ValueError(f"{asked!r}: give a list of versions, as in ['2.15.1', 'installed']")
            return tuple(versions.check(one) for one in asked)
    return ()


def defaults(node: pytest.Item | pytest.Collector, factory: Literal["server", "endpoint"]) -> dict[str, Any]:
    """The defaults that the marks of a test, or of its class or module, set for a factory; the nearest mark wins."""
    allowed = SERVER_FIELDS if factory == "server" else SERVER_FIELDS | ENDPOINT_FIELDS
    found: dict[str, Any] = {}
    for mark in node.iter_markers("mme"):  # nearest first
        found = {name: value for name, value in mark.kwargs.items() if name in allowed} | found
    return found


_COMPLAINT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Describe the mark."""
    config.addinivalue_line("markers", DESCRIPTION)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note which marks are wrong; to raise it here would be an internal error under xdist."""
    for item in items:
        if found := complaint(item):
            item.stash[_COMPLAINT] = found


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose marks are wrong."""
    if _COMPLAINT in item.stash:
        pytest.fail(item.stash[_COMPLAINT], pytrace=False)
