"""Lets a server that runs as another user read what is placed for it."""

from __future__ import annotations

from pathlib import Path


def let_others_read(folder: Path, *, below: Path) -> None:
    """Let the server's user, perhaps another one, read all of *folder* and enter the folders between it and *below*."""
    between = [parent for parent in folder.parents if parent.is_relative_to(below)]
    for path in (*between, folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
