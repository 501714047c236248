"""The server's description of itself."""

from __future__ import annotations

import json
from typing import Any, cast

import openapi_spec_validator
import pytest
from aiohttp import web

from pytest_mme.serving.http.app import Front
from pytest_mme.serving.http.openapi import description
from pytest_mme.serving.table.model_table import Residents


def served() -> set[tuple[str, str]]:
    """Method and path of every route; aiohttp answers HEAD wherever it answers GET."""
    routes = Front(cast(Residents, None)).app().router.routes()
    resources = {(route.method, cast(web.Resource, route.resource).canonical) for route in routes}
    return {(method, path) for method, path in resources if method != "HEAD"}


def described() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in description()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_every_route_is_described_and_nothing_else() -> None:
    assert set(described()) == served()


def test_the_description_is_openapi() -> None:
    openapi_spec_validator.validate(json.loads(json.dumps(description())))


def test_every_call_says_what_it_is_for() -> None:
    for operation in described().values():
        assert operation["summary"]
        assert operation["description"]
        assert all(answer["description"] for answer in operation["responses"].values())


@pytest.mark.parametrize("call", sorted(described()), ids=" ".join)
def test_every_refusal_has_the_same_form(call: tuple[str, str]) -> None:
    """But for those that a user's code may give."""
    form = {"$ref": "#/components/schemas/Error"}
    for status, answer in described()[call]["responses"].items():
        if status != "200":
            schema = answer["content"]["application/json"]["schema"]
            assert schema.get("anyOf", [schema])[0] == form
