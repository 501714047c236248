"""Which values the specification of an endpoint allows."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mme.hosting.spec import EndpointSpec
from tests.unit.runtimes.test_spec import NOT_NUMBERS

NOT_TEXTS: list[Any] = [7, 1.5, True, b"x", [], {}, (), object()]


@pytest.mark.parametrize(
    ("field", "values", "advice"),
    [
        ("ready_s", [*NOT_NUMBERS, None, 0, 361], "give seconds, more than 0, at most 360"),
        ("invoke_s", [*NOT_NUMBERS, None, 0, 361], "give seconds, more than 0, at most 360"),
        (
            "name",
            [*NOT_TEXTS, "", "..", "a/b", "-a", "a-", "a\n", "a\0", "ü", "a" * 64, "a" * 100_000],
            "SageMaker allows 1 to 63 letters, digits and inner dashes",
        ),
        (
            "prefix",
            [*NOT_TEXTS, "/", "/models", "a\n", "a\0b", "\udcff", "a" * 513, "ü" * 300, "a" * 100_000],
            "give a folder of the bucket, such as 'models/'",
        ),
        ("eviction", [*NOT_TEXTS, None, "", "random"], "choose one of lru, fifo, lfu, or give a function"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_to_give(field: str, values: list[Any], advice: str) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"^{field}=") as refused:
            EndpointSpec(**{field: value})
        assert str(refused.value).endswith(f": {advice}")
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "fields",
    [{"prefix": ""}, {"prefix": "modèles/"}, {"prefix": "a" * 512}, {"name": "a" * 63}, {"ready_s": 0.001}],
    ids=str,
)
def test_the_largest_and_smallest_values_are_allowed(fields: dict[str, Any]) -> None:
    assert EndpointSpec(**fields)
