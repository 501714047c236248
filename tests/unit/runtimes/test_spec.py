"""Which values a server's specification takes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_mme.runtimes.spec import ServerSpec

NOT_NUMBERS: list[Any] = ["300", "", b"1", True, [], {}, (), object(), 1j, math.nan, math.inf, -math.inf, -1, 10**400]


@pytest.mark.parametrize(
    ("field", "values", "advice"),
    [
        ("memory_mib", [0, 0.5, 2**40 + 1, 2**60 + 1], "give MiB, at least 1, or None for no limit"),
        ("cpus", [0, 1.0, 1.5, 1025, 2**31], "give a whole number, at least 1, or None for one thread per core"),
        ("drain_s", [None, 361], "give seconds, 0 to 360: the platform waits no longer"),
        ("grace_s", [None, 31], "give seconds, 0 to 30: the platform waits no longer"),
        ("handler_requests", [0, 1.5, 1025], "give a whole number, 1 to 1024, or None"),
        ("gpu", [None, 1.5, 1025], "give a whole number, 0 for the first GPU"),
        ("gpu_memory_fraction", [0, 1.5], "give a fraction up to 1, or None"),
        ("admission", [None, 0, "maybe"], "choose 'estimate' or 'none'"),
        ("oom", [None, 0, "never"], "choose 'kernel' or 'tensorflow'"),
        ("device", [0, "tpu"], "choose 'cpu' or 'gpu' or None"),
        (
            "code",
            [0, "/nowhere", "\0", "n" * 300, "n" * 100_000],
            "give a folder that holds an inference.py",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_give(field: str, values: list[Any], advice: str) -> None:
    for value in [*NOT_NUMBERS, *values]:
        with pytest.raises(ValueError, match=rf"^{field}=") as refused:
            ServerSpec(**{field: value})
        assert str(refused.value).endswith(f": {advice}")
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "fields",
    [{"memory_mib": 1}, {"memory_mib": 2**40}, {"memory_mib": 1.5}, {"cpus": 1}, {"cpus": 1024}, {"drain_s": 0}],
    ids=str,
)
def test_the_least_and_the_greatest_value_are_allowed(fields: dict[str, Any]) -> None:
    assert ServerSpec(**fields)
