"""An archive of which each version is frozen and rewritten, and all else is as it was."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_mme.models.archive import extract, versions

OPTIMISER = 1  # goes into the keys of optimised archives: raise it whenever they come out otherwise than before

Freeze = Callable[[Path, Path], None]
"""Writes the SavedModel in the first folder, optimised, to the second, which is not there yet."""


def plain(inputs: Mapping[str, Any] | None) -> Any:
    """Arrays as lists and bytes as TensorFlow Serving writes them, ``{"b64": "…"}``; TypeError for what has no form."""
    return json.loads(json.dumps(inputs, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"inputs: seen {type(value).__name__}; allowed: arrays, lists, numbers, strings, bytes")


def optimise(archive: Path, target: Path, freeze: Freeze) -> None:
    """Write what *archive* holds to the folder *target*, its versions optimised; raises `ArchiveError`."""
    source = target.with_name("whole")
    extract(archive, source)
    target.mkdir()
    saved_models = {folder.name for _, folder in versions(source)}
    for path in sorted(source.iterdir()):
        if path.name in saved_models:
            freeze(path, target / path.name)
        elif path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copy(path, target / path.name)
