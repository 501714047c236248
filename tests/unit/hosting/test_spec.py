"""Which values the specification of an endpoint allows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.hosting.eviction import first_loaded, least_recently_used
from pytest_mme.hosting.spec import EndpointSpec, check_archives
from pytest_mme.models.builder import Model
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


def test_a_policy_is_a_function_by_its_name_or_given() -> None:
    assert EndpointSpec().policy is least_recently_used
    assert EndpointSpec(eviction="fifo").policy is first_loaded
    assert EndpointSpec(eviction=(given := lambda _: None)).policy is given


@pytest.mark.parametrize(
    ("prefix", "folder", "warning"),
    [(None, "ranking/", None), ("", "", None), ("a/", "a/", None), ("a", "a/", "prefix='a' does not end in a slash")],
)
def test_archives_lie_in_the_prefix_or_in_a_folder_of_the_endpoints_name(
    prefix: str | None, folder: str, warning: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    assert EndpointSpec(prefix=prefix).folder("ranking") == folder
    assert [str(one.message).partition(";")[0] for one in recwarn] == ([warning] if warning else [])
    assert [one.filename for one in recwarn] == [__file__] * len(recwarn)


A, B = (Model(name=name, archive=Path("m.tar.gz")) for name in "ab")


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        (A, TypeError, "give a list of models"),
        ([A, "b"], TypeError, "give a list of models"),
        ([], ValueError, "give at least one model"),
        ([A, B, A], ValueError, "two archives are called a.tar.gz: "),
    ],
)
def test_archives_are_a_list_of_models_with_names_of_their_own(models: Any, error: type[Exception], words: str) -> None:
    check_archives([A, B])
    with pytest.raises(error, match=words):
        check_archives(models)


def test_a_request_waits_a_minute_for_its_model_and_for_its_reply() -> None:
    assert (EndpointSpec().ready_s, EndpointSpec().invoke_s) == (60.0, 60.0)
