"""Imports point one way, the serving side stays free of the testing side, and loading the plugin costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tools.rooms import ROOMS

PACKAGE = Path(__file__).parent.parent / "pytest_mme"

SERVING_SIDE = ("contract", "serving", "libtensorflow", "archives", "timeline")
TESTING_SIDE = frozenset({"pytest", "_pytest", "moto", "docker", "boto3", "botocore"})
HEAVY = (
    *("tensorflow", "keras", "numpy", "moto", "boto3", "botocore", "docker", "psutil", "requests"),
    *("starlette", "uvicorn", "aiohttp", "rich", "typer", "matplotlib", "plotly"),
)


def modules() -> dict[str, ast.Module]:
    """Every module of the package under its full name; a package's own code under the package's name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def imports(tree: ast.AST, known: Mapping[str, object]) -> Iterator[str]:
    """What a module imports, anywhere in it and for type checking too: ours by module, others by top-level name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in names]
        else:
            continue
        yield from (name if name in known else name.partition(".")[0] for name in names)


def room(module: str) -> str:
    """The name in `ROOMS` that a module of ours belongs to."""
    return module.split(".")[1] if "." in module else module


def violations(trees: Mapping[str, ast.Module]) -> list[str]:
    """Each import from a room that is listed later than the importing module's own."""
    return [
        f"{module} imports {imported}"
        for module, tree in trees.items()
        for imported in imports(tree, trees)
        if imported in trees and ROOMS.index(room(imported)) > ROOMS.index(room(module))
    ]


def closure(starts: list[str], trees: Mapping[str, ast.Module]) -> dict[str, str]:
    """All that *starts* import, and what that imports, and so on: each with the module that brings it in."""
    brought_by = dict.fromkeys(starts, "")
    waiting = list(starts)
    while waiting:
        module = waiting.pop()
        for imported in imports(trees[module], trees):
            if imported not in brought_by:
                brought_by[imported] = module
                if imported in trees and imported != "pytest_mme":
                    waiting.append(imported)
    return brought_by


def test_every_module_has_its_room() -> None:
    assert {room(module) for module in modules()} <= set(ROOMS)


def test_a_module_imports_only_from_its_own_room_and_rooms_listed_earlier() -> None:
    assert violations(modules()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pytest_mme.kit",
        "from pytest_mme import kit",
        "from pytest_mme.kit import Run",
        "def late():\n    from pytest_mme.kit import Run",
        "if TYPE_CHECKING:\n    from pytest_mme.kit import Run",
        "from pytest_mme import Run",
    ],
)
def test_an_import_from_a_room_listed_later_is_noticed(source: str) -> None:
    trees = {"pytest_mme": ast.parse(""), "pytest_mme.kit": ast.parse(""), "pytest_mme.errors": ast.parse(source)}
    assert len(violations(trees)) == 1


@pytest.mark.parametrize("package", SERVING_SIDE)
def test_the_serving_side_imports_nothing_of_the_testing_side(package: str) -> None:
    trees = modules()
    brought_by = closure([module for module in trees if room(module) == package], trees)
    assert {name: by for name, by in brought_by.items() if name in TESTING_SIDE} == {}


def test_an_indirect_import_is_noticed() -> None:
    trees = {"pytest_mme.serving": ast.parse("import pytest_mme.models"), "pytest_mme.models": ast.parse("import moto")}
    assert closure(["pytest_mme.serving"], trees)["moto"] == "pytest_mme.models"


def loaded_by(statement: str) -> set[str]:
    """The top-level names that are loaded in a fresh Python after *statement*."""
    program = f"import sys\n{statement}\nprint(*(name.partition('.')[0] for name in sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("statement", ["import pytest_mme; dir(pytest_mme)", "import pytest_mme.plugin.hooks"])
def test_loading_the_plugin_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & set(HEAVY) == set()


def test_a_session_without_our_fixtures_loads_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"""
        import sys

        def test_something_else():
            assert {{name for name in {HEAVY} if name in sys.modules}} == set()
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_serving_side_loads_nothing_of_the_testing_side() -> None:
    statement = "".join(f"import {module}\n" for module in modules() if room(module) in SERVING_SIDE)
    assert loaded_by(statement.replace("import pytest_mme.serving.__main__\n", "")) & TESTING_SIDE == set()


def test_the_servers_front_loads_neither_numpy_nor_protobuf() -> None:
    """They would cost it memory, and numpy a thread for each further core."""
    loaded = loaded_by("import pytest_mme.serving.server, pytest_mme.serving.http.app")
    assert loaded & {"numpy", "google", "psutil"} == set()
