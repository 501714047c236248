"""The mark takes the fields of the specifications."""

from __future__ import annotations

import dataclasses

from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.plugin import marks
from pytest_mme.runtimes.spec import ServerSpec


def fields(specification: type) -> set[str]:
    return {field.name for field in dataclasses.fields(specification)}


def test_the_fields_are_those_of_the_specifications() -> None:
    assert fields(ServerSpec) - {marks.VERSIONS} == marks.SERVER_FIELDS
    assert fields(EndpointSpec) - {"name"} | {"fits"} == marks.ENDPOINT_FIELDS
