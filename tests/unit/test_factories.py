"""The keyword arguments of the factories are the fields of the specifications, with the same types."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import pytest_mme
from pytest_mme import EndpointSpec, ModelSpec, ServerSpec, errors
from pytest_mme.factories import EndpointFields, ServerFields
from pytest_mme.models.spec import ModelFields


def of_specifications(*specifications: type[Any]) -> dict[str, str]:
    """Each field with its annotation, as it is written."""
    return {field.name: str(field.type) for one in specifications for field in dataclasses.fields(one)}


def of_keywords(keywords: Any) -> dict[str, str]:
    """Each keyword with its annotation, as it is written."""
    return {name: annotation.__forward_arg__ for name, annotation in keywords.__annotations__.items()}


@pytest.mark.parametrize(
    ("keywords", "specifications"),
    [(ServerFields, [ServerSpec]), (EndpointFields, [ServerSpec, EndpointSpec])],
    ids=["server", "endpoint"],
)
def test_keywords_are_the_fields_of_the_specifications(keywords: Any, specifications: list[type[Any]]) -> None:
    assert of_keywords(keywords) == of_specifications(*specifications)


def test_a_models_keywords_are_its_fields_without_those_that_its_method_stands_for() -> None:
    methods = dict.fromkeys(("name", "kind", "custom_op"))
    expected = {name: kind for name, kind in of_specifications(ModelSpec).items() if name not in methods}
    assert of_keywords(ModelFields) == expected


def test_every_error_is_a_public_name() -> None:
    defined = {
        name for name, one in vars(errors).items() if isinstance(one, type) and one.__module__ == errors.__name__
    }
    assert defined <= set(pytest_mme.__all__)


@pytest.mark.parametrize("name", pytest_mme.__all__)
def test_every_public_name_leads_somewhere(name: str) -> None:
    assert getattr(pytest_mme, name)
