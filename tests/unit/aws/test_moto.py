"""moto has one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest_mme

PACKAGE = Path(pytest_mme.__file__).parent


def test_only_one_module_imports_moto() -> None:
    imports_moto = re.compile(r"^\s*(import|from) moto\b", re.MULTILINE)
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if imports_moto.search(path.read_text())]
    assert modules == [Path("aws/moto.py")]
