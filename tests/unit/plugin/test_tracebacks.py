"""The one line that says what a failure is."""

from __future__ import annotations

import pytest

from pytest_mme.plugin.tracebacks import in_one_line

BOTO3 = (
    "botocore.errorfactory.ModelError: An error occurred (ModelError) when calling the InvokeEndpoint operation "
    '(reached max retries: 0): Received server error (500) from primary with message "gone". See '
    "https://us-east-1.console.aws.amazon.com/x in account 123456789012 for more information."
)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("assert 1 == 2\n +  where 1 = f()", "assert 1 == 2 + where 1 = f()"),
        (
            'pytest_mme.errors.ContractError: load of a replied 500\n  body: {"error":"no room"}\n  next: read the log',
            "ContractError: load of a replied 500: no room",
        ),
        (BOTO3, 'ModelError: Received server error (500) from primary with message "gone".'),
        ("a.b.c is no error: x", "a.b.c is no error: x"),
        ("x" * 400, "x" * 300 + "…"),
    ],
)
def test_a_failure_is_told_in_one_line(message: str, shown: str) -> None:
    assert in_one_line(message) == shown
