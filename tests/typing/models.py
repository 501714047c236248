"""What a type checker knows of models. Each `type: ignore` is an error that it must find; `test_typing.py`."""

from __future__ import annotations

from pathlib import Path

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


def answers_of_users_models(mme_models: Models) -> None:
    own = mme_models.archive("own.tar.gz", answers="recorded", inputs=[[1.0], "text"], code=Path("code"), tf="2.15.1")
    assert_type(own, Model)
    assert_type(mme_models.archive(Path("own"), "own", answers="python", rtol=1e-3, atol=0), Model)
    mme_models.archive("own.tar.gz", answers=Path("answers.jsonl"))
    mme_models.archive("own.tar.gz", answers=lambda x: {"y": x}, inputs=[[1.0]])
    mme_models.archive("own.tar.gz", answer="recorded")  # type: ignore[call-arg]
    mme_models.archive("own.tar.gz", answers=1)  # type: ignore[arg-type]
    mme_models.archive("own.tar.gz", answers=lambda: 1)  # type: ignore[arg-type]
    mme_models.archive("own.tar.gz", answers="recorded", rtol="wide")  # type: ignore[arg-type]
    mme_models.archive("own.tar.gz", answers="recorded", inputs=1.0)  # type: ignore[arg-type]
