"""Findings on the user code in an archive."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from pytest_mme.archives.inspect import Inspection
from pytest_mme.doctor.finding import Finding, Kind

REQUIREMENTS = Kind(
    code="MME401",
    severity="warning",
    title="requirements that are not installed",
    why="a multi-model container reads requirements when it starts, and archives come later",
    advice="install them in the image, or put pure Python packages into code/lib",
    source="AWS's TensorFlow containers, README: multi-model endpoints",
)
NO_PYTHON = Kind(
    code="MME402",
    severity="error",
    title="inference.py is not valid Python",
    why="the model cannot be loaded",
    advice="see the line that is named",
    source="Python's own compiler, of the version that examines",
)
IMPORTS_TENSORFLOW = Kind(
    code="MME403",
    severity="warning",
    title="inference.py imports TensorFlow",
    why="each model's handler takes some 200 MB and seconds more, beside TensorFlow Serving's own",
    advice="numpy and json do for most handlers; else import it in the function that needs it",
    source="measured: docs/handlers.md",
)
MODULE_STATE = Kind(
    code="MME404",
    severity="info",
    title="inference.py keeps state in its module",
    why="requests come on several threads, and every one sees it",
    advice="keep what a request needs in its function; guard what has to be shared with a lock",
    source="AWS's TensorFlow containers: gunicorn with gevent, many requests at once",
)
KINDS = (REQUIREMENTS, NO_PYTHON, IMPORTS_TENSORFLOW, MODULE_STATE)

_TENSORFLOW = {"tensorflow", "keras", "tf_keras"}
_CHANGING = {
    *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "insert"),
    *("intersection_update", "pop", "popitem", "popleft", "remove", "reverse", "rotate", "setdefault", "sort"),
    *("symmetric_difference_update", "update"),
}
"""The methods of collections that change them."""


def look(archive: Inspection) -> Iterator[Finding]:
    """Find what is wrong with the code."""
    if wanted := requirements(archive):
        yield Finding(kind=REQUIREMENTS, where="code/requirements.txt", fact=", ".join(wanted[:5]))
    if archive.code is None:
        return
    where = f"code/{archive.code.name}"
    try:
        tree = _parsed(archive.code)
    except (SyntaxError, ValueError) as error:
        yield Finding(kind=NO_PYTHON, where=where, fact=str(error))
        return
    for node in tree.body:
        if found := _TENSORFLOW.intersection(_imported(node)):
            yield Finding(kind=IMPORTS_TENSORFLOW, where=where, fact=f"line {node.lineno}: {', '.join(sorted(found))}")
    if state := _state(tree):
        yield Finding(kind=MODULE_STATE, where=where, fact=", ".join(sorted(state)))


def requirements(archive: Inspection) -> list[str]:
    """Return the lines of ``code/requirements.txt``, without comments."""
    path = archive.root and archive.root / "code" / "requirements.txt"
    if not path or not path.is_file():
        return []
    lines = (line.partition("#")[0].strip() for line in path.read_text(errors="replace").splitlines())
    return [line for line in lines if line]


def imports(archive: Inspection) -> list[str]:
    """Return the packages that ``code/inference.py`` imports anywhere; none when it cannot be parsed."""
    try:
        tree = _parsed(archive.code) if archive.code else ast.Module([], [])
    except (SyntaxError, ValueError):
        return []
    return sorted({name for node in ast.walk(tree) for name in _imported(node)})


def _parsed(code: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape must not warn, or fail under `-W error`
        return ast.parse(code.read_bytes())


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {str(node.module).partition(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()


def _state(tree: ast.Module) -> set[str]:
    """Return the module's names that functions rebind, or whose objects they change in place."""
    nodes = [*ast.walk(tree)]
    rebound = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    assigned = {target.id for target in targets if isinstance(target, ast.Name)}
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    changed = [_changed(node) for function in functions for node in ast.walk(function)]
    return rebound | (assigned & {value.id for value in changed if isinstance(value, ast.Name)})


def _changed(node: ast.AST) -> ast.expr | None:
    """Return the object that a node changes in place: ``x`` of ``x[1] = 2``, ``del x[1]`` and ``x.append(2)``."""
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        return node.func.value
    return None
