"""The files and folders that fields name, and how a bundle carries them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_mme.errors import ArchiveError

FIELDS = ("code", "op_libraries", "module")
"""The fields of servers, endpoints and handlers that name files or folders."""
_FOLDER = "files"


def located(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with absolute paths, as text; a module becomes the path of its file."""

    def absolute(_: str, path: Any) -> str:
        return str(Path(str(path.__file__) if isinstance(path, ModuleType) else path).absolute())

    return _with_paths(fields, absolute)


def put(packed: zipfile.ZipFile, fields: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Write the files that the fields of *owner* name into a bundle, without those that Python compiled.

    Gives the fields with their paths there. Raises `ArchiveError` when one no longer exists.
    """

    def write(name: str, given: str) -> str:
        path = Path(given)
        if not path.exists():
            raise ArchiveError(given, "it is not there any more", "bundle a failure before its files are gone")
        target = f"{_FOLDER}/{owner}/{name}/{path.name}"
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                packed.write(file, Path(target, file.relative_to(path)))
        return target

    return _with_paths(fields, write)


def take(packed: zipfile.ZipFile, fields: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Extract the files that the fields name into *directory*; gives the fields with their paths there."""

    def extract(_: str, path: str) -> str:
        for name in packed.namelist():
            if name == path or name.startswith(f"{path}/"):
                packed.extract(name, directory)  # never outside of it, whatever the bundle calls it
        return str(directory / path)

    return _with_paths(fields, extract)


def _with_paths(fields: Mapping[str, Any], change: Callable[[str, Any], str]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in FIELDS:
            changed[name] = value
        elif isinstance(value, list | tuple):
            changed[name] = [change(f"{name}-{number}", path) for number, path in enumerate(value)]
        else:
            changed[name] = change(name, value)
    return changed
