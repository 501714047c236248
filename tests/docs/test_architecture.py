"""What docs/architecture.md names is there, where the page says."""

from __future__ import annotations

import ast
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tools.make_docs import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.compile(r"`((?:\w+/)*\w+\.py)`\)?:\s+((?:`[\w.]+`(?:,\s+)?)+)")
PICTURE = re.compile(r"```text\n(.*?)```", re.DOTALL)
PATHS = re.compile(r"`((?:\w+/)+(?:\w+\.py)?|(?!inference)\w+\.py)`")


def defined(path: Path) -> dict[str, Any]:
    """What a module defines, by name: for a class the names of what it defines, too."""

    def names(body: list[ast.stmt]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = names(node.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = {}
        return found

    return names(ast.parse(path.read_text()).body)


@pytest.mark.parametrize("path", sorted(set(PATHS.findall(PAGE))))
def test_a_path_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / "pytest_mme" / path).exists() or (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\w+/\w+", "".join(PICTURE.findall(PAGE))))))
def test_a_module_that_the_picture_names_exists(path: str) -> None:
    module = ROOT / "pytest_mme" / path
    assert module.is_dir() or module.with_suffix(".py").is_file()


@pytest.mark.parametrize(("path", "names"), sorted(set(NAMED.findall(PAGE))))
def test_a_module_defines_what_the_page_says(path: str, names: str) -> None:
    for name in re.findall(r"`([\w.]+)`", names):
        reduce(lambda scope, part: scope[part], name.split("."), defined(ROOT / "pytest_mme" / path))


def test_the_page_names_at_least_15_definitions() -> None:
    assert len(NAMED.findall(PAGE)) >= 15
