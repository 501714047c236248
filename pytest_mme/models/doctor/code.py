"""The user's code that an archive brings along."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pytest_mme.models.doctor.finding import Finding, Kind
from pytest_mme.models.inspect import Inspection

REQUIREMENTS = Kind(
    code="MME401",
    severity="warning",
    title="requirements that nobody installs",
    why="a multi-model container reads requirements when it starts, and archives come later",
    advice="install them in the image, or put pure Python packages into code/lib",
    source="AWS's TensorFlow containers, README: multi-model endpoints",
)
NO_PYTHON = Kind(
    code="MME402",
    severity="error",
    title="inference.py is no Python",
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
_MUTABLE = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
_MAKES_MUTABLE = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter"}


def look(archive: Inspection) -> Iterator[Finding]:
    """What is wrong with the code."""
    if archive.root is None:
        return
    requirements = archive.root / "code" / "requirements.txt"
    if requirements.is_file() and (lines := _lines(requirements)):
        yield Finding(kind=REQUIREMENTS, where="code/requirements.txt", fact=", ".join(lines[:5]))
    if archive.code:
        yield from _inference(archive.code)


def _lines(requirements: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(errors="replace").splitlines())
    return [line for line in lines if line]


def _inference(code: Path) -> Iterator[Finding]:
    where = f"code/{code.name}"
    try:
        tree = ast.parse(code.read_bytes())
    except (SyntaxError, ValueError) as error:
        yield Finding(kind=NO_PYTHON, where=where, fact=str(error))
        return
    for node in tree.body:
        if found := _TENSORFLOW.intersection(_imported(node)):
            yield Finding(kind=IMPORTS_TENSORFLOW, where=where, fact=f"line {node.lineno}: {', '.join(sorted(found))}")
    changed = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name)} & set(_state(tree))
    if changed:
        yield Finding(kind=MODULE_STATE, where=where, fact=", ".join(sorted(changed)))


def _imported(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {str(node.module).partition(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else set()


def _state(tree: ast.Module) -> Iterator[str]:
    """Names at the top that functions rebind, or that hold what can be changed; constants by name are left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.isupper() and _is_mutable(value):
                yield target.id


def _is_mutable(value: ast.expr | None) -> bool:
    made = isinstance(value, ast.Call) and getattr(value.func, "id", getattr(value.func, "attr", "")) in _MAKES_MUTABLE
    return made or isinstance(value, _MUTABLE)
