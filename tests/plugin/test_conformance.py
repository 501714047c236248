"""`pytest --pyargs pytest_mme.conformance`."""

from __future__ import annotations

import pytest

from pytest_mme.contract.conformance.judge import CLAUSES

pytestmark = pytest.mark.slow

PING_FAILS = """
import pytest_mme.contract.client as client

def ping(self):
    return client.Reply(503, b"", {}, 0.0)

client.ContractClient.ping = ping
"""


def test_each_clause_is_a_test(inner: pytest.Pytester) -> None:
    result = inner.runpytest_subprocess("-v", "-rs", "--pyargs", "pytest_mme.conformance")
    result.assert_outcomes(passed=len(CLAUSES) - 1, skipped=1)
    result.stdout.fnmatch_lines(["*::test_clause[[]ping.200[]] PASSED*", "SKIPPED*it was not asked for*"])


def test_a_deviation_fails_with_the_clause_and_what_was_seen(inner: pytest.Pytester) -> None:
    inner.makepyfile(odd=PING_FAILS)
    result = inner.runpytest_subprocess("-rs", "-p", "odd", "--pyargs", "pytest_mme.conformance", "-k", "ping")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "the reply is 503, not 200",
            "  clause: The reply to a ping is 200. (D)",
            "  seen: 503",
            "*mme timeline*",
            "SKIPPED*it builds on ping.200 (deviation)",
        ]
    )
