"""The server's description of itself."""

from __future__ import annotations

from typing import Any, cast

import openapi_spec_validator
import pytest
from aiohttp import web

from pytest_mme.contract import routes
from pytest_mme.serving.http.app import IDENTIFIER, PAGE_TOKEN, VERSION, application
from pytest_mme.serving.http.invocation_headers import METHODS
from pytest_mme.serving.http.openapi import description
from pytest_mme.serving.statuses import STATUS
from pytest_mme.serving.table.model_table import ModelTable


def served() -> set[tuple[str, str]]:
    """Method and path of every route; aiohttp serves HEAD wherever it serves GET."""
    served_routes = application(cast(ModelTable, None)).router.routes()
    resources = {(route.method, cast(web.Resource, route.resource).canonical) for route in served_routes}
    return {(method, path) for method, path in resources if method != "HEAD"}


def described() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in description()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def parameter(name: str) -> dict[str, Any]:
    found: dict[str, Any] = description()["components"]["parameters"][name]
    return found


def test_every_route_is_described_and_nothing_else() -> None:
    assert set(described()) == served()


def test_the_description_is_openapi() -> None:
    openapi_spec_validator.validate(description())


def test_every_call_has_a_summary_and_descriptions() -> None:
    for operation in described().values():
        assert operation["summary"]
        assert operation["description"]
        assert all(reply["description"] for reply in operation["responses"].values())


@pytest.mark.parametrize("call", sorted(described()), ids=" ".join)
def test_every_refusal_has_the_same_form_unless_user_code_may_choose_it(call: tuple[str, str]) -> None:
    expected = "ErrorOrUserCode" if call == ("POST", routes.invoke("{identifier}")) else "Error"
    for status, reply in described()[call]["responses"].items():
        if status != "200":
            assert reply["$ref"] == f"#/components/responses/{expected}"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("attributes", routes.CUSTOM_ATTRIBUTES),
        ("target", routes.TARGET_MODEL),
        ("request", routes.REQUEST_ID),
    ],
)
def test_the_headers_are_those_of_the_contract(name: str, header: str) -> None:
    assert (parameter(name)["in"], parameter(name)["name"]) == ("header", header)


@pytest.mark.parametrize(
    ("name", "pattern"), [("identifier", IDENTIFIER.pattern), ("page", PAGE_TOKEN.pattern), ("version", VERSION)]
)
def test_the_parameters_have_the_patterns_that_the_server_checks(name: str, pattern: str) -> None:
    assert parameter(name)["schema"]["pattern"] == f"^{pattern}$"


def test_the_bodies_have_the_patterns_that_the_server_checks() -> None:
    schemas = {name: schema.get("properties", {}) for name, schema in description()["components"]["schemas"].items()}
    assert schemas["LoadRequest"]["model_name"]["pattern"] == f"^{IDENTIFIER.pattern}$"
    assert schemas["Model"]["modelName"]["pattern"] == f"^{IDENTIFIER.pattern}$"
    assert schemas["Page"]["nextPageToken"]["pattern"] == f"^{PAGE_TOKEN.pattern}$"
    assert schemas["Metadata"]["model_spec"]["properties"]["version"]["pattern"] == f"^{VERSION}$"


def test_the_methods_are_those_that_the_server_takes() -> None:
    assert parameter("method")["schema"]["enum"] == [*METHODS]


@pytest.mark.parametrize("path", [routes.invoke("{identifier}"), routes.rest("{identifier}") + ":{method}"])
def test_every_code_of_tensorflow_is_described_at_its_status(path: str) -> None:
    responses = described()["POST", path]["responses"]
    for code, status in STATUS.items():
        assert code == "OK" or code in responses[str(status)]["description"]


def test_the_largest_body_is_the_contracts() -> None:
    assert f"more than {routes.MAX_BODY_BYTES} bytes" in description()["info"]["description"]
    for operation in described().values():
        if reply := operation["responses"].get("413"):
            assert reply["description"] == f"The body has more than {routes.MAX_BODY_BYTES} bytes."
