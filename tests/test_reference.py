"""docs/reference.md is what the code says."""

from __future__ import annotations

import dataclasses

import pytest

from tools import make_reference


def test_the_page_is_what_the_code_says() -> None:
    assert make_reference.PAGE.read_text() == make_reference.page(), "run: python tools/make_reference.py"


@pytest.mark.parametrize("specification", make_reference.SECTIONS, ids=lambda one: one.__name__)
def test_every_field_has_a_docstring(specification: type) -> None:
    meanings = make_reference.docstrings(specification)
    assert {name for name, text in meanings.items() if text} >= {one.name for one in dataclasses.fields(specification)}
