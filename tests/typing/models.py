"""What a type checker knows of models. Each `type: ignore` is an error that it must find; `test_typing.py`."""

from __future__ import annotations

from typing_extensions import assert_type

from pytest_mme import Model, Models


def what_the_builder_returns(mme_models: Models) -> None:
    assert_type(mme_models.linear("ranking", weights_mib=10, versions=(1, 2)), Model)
    assert_type(mme_models.fleet(3, busy_ms=5), list[Model])


def misspelt_fields_and_wrong_types(mme_models: Models) -> None:
    mme_models.linear(weights_mb=10)  # type: ignore[call-arg]
    mme_models.fleet(3, busy=5)  # type: ignore[call-arg]
    mme_models.text(weights_mib="10")  # type: ignore[arg-type]
    mme_models.keras(saved_by=2.15)  # type: ignore[arg-type]
