"""Write `docs/reference.md`: each field of the specifications, from the docstrings, defaults and rules in the code.

python tools/make_reference.py
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_mme import EndpointSpec, ModelSpec, ServerSpec
from pytest_mme.plugin import marks
from pytest_mme.validation import rule_of

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
HEAD = """# Reference: the fields

What the factories take, as keywords. *mark*: whether `@pytest.mark.mme(…)` takes the field, too, as a default for all
factories of a test. A wrong value raises ValueError that names the field, the value and what the field takes; an
unknown field raises TypeError. For annotations and type checkers: `from pytest_mme import ServerFactory,
HandlerFactory, EndpointFactory`.

Written by `python tools/make_reference.py` from the code; a test compares it.
"""
SECTIONS: Mapping[type[Any], str] = {
    ServerSpec: "A server: `mme_server(…)`, `mme_handler(file, models, …)`, `mme_endpoint(models, …)`, `run.server(…)`",
    EndpointSpec: "An endpoint: `mme_endpoint(models, …)`, `run.endpoint(models, aws=…, …)`, beside a server's fields",
    ModelSpec: "A model: `mme_models.linear(…)`, `.counter(…)`, `.text(…)`, `.keras(…)`, `.fleet(n, …)`, `.build(ModelSpec(…))`",
}
MORE = {
    EndpointSpec: [
        (
            "| `fits` | `None` | a whole number, up to the number of archives | yes | Instead of `memory_mib`: the memory "
            "in which exactly so many of the archives are resident at once, measured. |"
        )
    ]
}
"""Keywords of the factories that are not fields of a specification."""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(one, title) for one, title in SECTIONS.items())])


def section(specification: type[Any], title: str) -> str:
    """The table of a specification's fields."""
    meanings = docstrings(specification)
    rows = [row(field, meanings[field.name]) for field in dataclasses.fields(specification)]
    head = ["| field | default | takes | mark | meaning |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"## {title}", "", *head, *rows, *MORE.get(specification, []), ""])


def row(field: dataclasses.Field[Any], meaning: str) -> str:
    """A field's row."""
    takes = rule.takes if (rule := rule_of(field)) else str(field.type)
    marked = "yes" if field.name in marks.KNOWN else ""
    if field.name == marks.VERSIONS:
        marked = "a list: the test runs once with each"
    cells = (f"`{field.name}`", default(field), takes, marked, meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


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


if __name__ == "__main__":
    PAGE.write_text(page())
