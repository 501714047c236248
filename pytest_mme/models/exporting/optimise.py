"""Optimises an archive: each version is frozen and rewritten, and all else is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pytest_mme.archives.archive import extract, versions

OPTIMISER = 1  # goes into the keys of optimised archives: raise it whenever they differ from before

Freeze = Callable[[Path, Path], None]
"""Writes the SavedModel in the first folder, optimised, to the second, which does not exist yet."""


def optimise(archive: Path, target: Path, freeze: Freeze) -> None:
    """Write the contents of *archive* to the folder *target*, its versions optimised; raises `ArchiveError`."""
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
