"""The files and folders that fields name, and how a bundle carries them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_mme.errors import ArchiveError

FIELDS = ("code", "op_libraries", "module")
"""The fields of servers, endpoints and handlers that name files or folders."""
_FOLDER = "files"


def located(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with absolute paths, as text; a module becomes the path of its file."""
    return _with_paths(fields, lambda _, path: str(Path(_file_of(path)).absolute()))


def put(packed: zipfile.ZipFile, fields: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Write the files that the fields of *owner* name into a bundle; gives the fields with their paths there.

    Raises `ArchiveError` when one no longer exists.
    """
    return _with_paths(fields, lambda name, path: _put(packed, Path(path), f"{_FOLDER}/{owner}/{name}"))


def take(packed: zipfile.ZipFile, fields: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Extract the files that the fields name into *directory*; gives the fields with their paths there."""
    return _with_paths(fields, lambda _, path: _take(packed, path, directory))


def _with_paths(fields: Mapping[str, Any], change: Callable[[str, Any], str]) -> dict[str, Any]:
    return {name: _changed(name, value, change) if name in FIELDS else value for name, value in fields.items()}


def _changed(name: str, value: Any, change: Callable[[str, Any], str]) -> Any:
    if isinstance(value, list | tuple):
        return [change(f"{name}-{number}", path) for number, path in enumerate(value)]
    return change(name, value)


def _file_of(path: Any) -> Any:
    return path.__file__ if isinstance(path, ModuleType) else path


def _put(packed: zipfile.ZipFile, path: Path, below: str) -> str:
    if not path.exists():
        raise ArchiveError(str(path), "it is not there any more", "bundle a failure before its files are gone")
    target = f"{below}/{path.name}"
    for file in _files(path):
        packed.write(file, Path(target, file.relative_to(path)))
    return target


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder, without those that Python compiled; or the file itself."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _take(packed: zipfile.ZipFile, path: str, directory: Path) -> str:
    for name in packed.namelist():
        if name == path or name.startswith(f"{path}/"):
            packed.extract(name, directory)  # never outside of it, whatever the bundle calls it
    return str(directory / path)
