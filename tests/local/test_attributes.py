"""Custom attributes: which version and which method answers, and never another model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Endpoint, Model, Models, Server
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from tests.foreign.models import ForeignModels

Servers = Callable[..., Server]


def ask(server: Server, model: Model, attributes: str, body: bytes = b'{"instances": [[1.0]]}') -> Reply:
    headers = {"Content-Type": "application/json", routes.CUSTOM_ATTRIBUTES: attributes}
    return server.client.invoke(server.identifier(model), body, headers)


@pytest.fixture
def versioned(mme_server: Servers, mme_models: Models) -> tuple[Server, Model]:
    """A model of three versions, loaded beside another."""
    server, model = mme_server(), mme_models.linear(versions=(2, 10, 9))
    server.load(model)
    server.load(mme_models.linear("other"))
    return server, model


def test_every_version_of_an_archive_can_be_invoked(versioned: tuple[Server, Model]) -> None:
    server, model = versioned
    for version in (2, 9, 10):
        reply = ask(server, model, f"tfs-model-version={version}")
        assert reply.json()["predictions"] == [model.answer([1.0], version=version)]
    (load, _) = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
    assert (load.detail["version"], load.detail["versions"]) == (10, [2, 9, 10])


def test_a_missing_version_is_404_with_tensorflow_servings_message(versioned: tuple[Server, Model]) -> None:
    server, model = versioned
    reply = ask(server, model, "tfs-model-version=7")
    assert reply.status == 404
    assert f"Servable not found for request: Specific({server.identifier(model)}, 7)" in reply.json()["error"]


@pytest.mark.parametrize(
    "attributes",
    [
        "tfs-model-version=10/../../../other/versions/1",
        "tfs-model-version=../../other",
        "tfs-model-version==10",
        "tfs-model-version=",
        "tfs-model-version=-1",
        "tfs-model-version=٣",
        "tfs-model-version=99999999999999999999",
        "tfs-model-version=" + "9" * 5000,
        "tfs-method=predict/../../other:predict",
        "tfs-method=PREDICT",
        "tfs-method==predict",
    ],
)
def test_an_invalid_attribute_is_400_and_named_in_the_error(versioned: tuple[Server, Model], attributes: str) -> None:
    server, model = versioned
    reply = server.client.invoke(
        server.identifier(model),
        b'{"instances": [[1.0]]}',
        {"Content-Type": "application/json", routes.CUSTOM_ATTRIBUTES: attributes.encode()},  # type: ignore[dict-item]
    )
    assert reply.status == 400
    assert attributes.partition("=")[0] in reply.json()["error"]


@pytest.mark.parametrize(
    "attributes",
    [
        "tfs-model-name=other",
        "tfs-model-name=../other, tfs-model-name=other/versions/1",
        "mine=a=b, x=/../y",
        "no pairs at all",
        ",,,=,=x,",
        " tfs-model-version=10 , tfs-method=predict ",
    ],
)
def test_no_attribute_changes_the_model(versioned: tuple[Server, Model], attributes: str) -> None:
    server, model = versioned
    assert ask(server, model, attributes).json()["predictions"] == [model.answer([1.0], version=10)]


def test_a_method_that_the_signature_does_not_have_is_refused(versioned: tuple[Server, Model]) -> None:
    server, model = versioned
    reply = ask(server, model, "tfs-method=regress", b'{"examples": [{"x": 1.0}]}')
    assert reply.status == 400
    assert "error" in reply.json()


def test_classify_and_regress_are_served(mme_server: Servers, mme_models: Models, foreign: ForeignModels) -> None:
    server, model = mme_server(), mme_models.archive(foreign("half_plus_two"), name="half-plus-two")
    server.load(model)
    body = b'{"signature_name": "%s", "examples": [{"x": 1.0}, {"x": 2.0}]}'
    assert ask(server, model, "tfs-method=regress", body % b"regress_x_to_y").json() == {"results": [2.5, 3.0]}
    classified = ask(server, model, "tfs-method=classify", body % b"classify_x_to_y")
    assert classified.status == 200, classified.text
    assert len(classified.json()["results"]) == 2


def test_attributes_reach_the_model_through_boto3(mme_endpoint: Callable[..., Endpoint], mme_models: Models) -> None:
    model = mme_models.linear(versions=(1, 2))
    endpoint = mme_endpoint([model])
    reply = endpoint.invoke_raw(model.key, b'{"instances": [[1.0]]}', CustomAttributes="tfs-model-version=1")
    assert reply.json()["predictions"] == [model.answer([1.0], version=1)]
