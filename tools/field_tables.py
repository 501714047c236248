"""The tables of docs/reference.md: each field of the specifications, from the docstrings, defaults and rules in the code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

from pytest_mme.hosting.spec import EndpointSpec
from pytest_mme.plugin import marks
from pytest_mme.validation import rule_of

HEAD = ("field", "default", "takes", "mark", "meaning")
FITS = (
    "`fits`",
    "`None`",
    "a whole number, up to the number of archives",
    "yes",
    "Instead of `memory_mib`: the memory in which exactly that many of the archives are resident at once, measured.",
)
"""A keyword of `mme_endpoint` that is not a field of a specification."""


def field_rows(specification: type[Any]) -> list[Sequence[str]]:
    """A row for each keyword that a factory takes for *specification*."""
    meanings = docstrings(specification)
    rows = [row(field, meanings[field.name]) for field in dataclasses.fields(specification)]
    return [*rows, FITS] if specification is EndpointSpec else rows


def row(field: dataclasses.Field[Any], meaning: str) -> Sequence[str]:
    """A field's row."""
    takes = rule.takes if (rule := rule_of(field)) else str(field.type)
    marked = "yes" if field.name in marks.KNOWN else ""
    if field.name == marks.VERSIONS:
        marked = "a list: the test runs once with each"
    cells = (f"`{field.name}`", default(field), takes, marked, meaning)
    return [cell.replace("|", "\\|") for cell in cells]


def default(field: dataclasses.Field[Any]) -> str:
    """A field's default, as it would be written."""
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"


def docstrings(specification: type[Any]) -> dict[str, str]:
    """The docstring below each field of a class, on one line."""
    (body,) = ast.parse(inspect.getsource(specification)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, below in zip(body.body, body.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(inspect.cleandoc(text).replace("``", "`").split())
    return found
