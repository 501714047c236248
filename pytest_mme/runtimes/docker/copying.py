"""Copies files into a container: the engine may not see this machine's, or the container's user may not read them."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker.models.containers import Container


def send(container: Container, folder: Path, target: str) -> None:
    """Copy the contents of *folder* into the container at *target*, for every user to read; its parents are created.

    A link is copied as what it leads to; a broken link, and what is neither a file nor a folder, is left out.
    """
    paths = (folder, *_inside(folder))
    _put(container, {path: f"{target}/{path.relative_to(folder).as_posix()}" for path in paths})


def send_file(container: Container, file: Path, target: str) -> None:
    """Copy one file into the container at *target*, for every user to read."""
    _put(container, {file: target})


def _put(container: Container, targets: Mapping[Path, str]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, target in targets.items():
            _add(tar, path, target.lstrip("/"))
    container.put_archive("/", packed.getvalue())


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    entry, status = tarfile.TarInfo(name), path.stat()
    entry.mtime = int(status.st_mtime)
    if path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
        return
    entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    with path.open("rb") as content:
        tar.addfile(entry, content)


def _inside(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files and folders, except for links to a folder that they are in."""
    above = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in above:
            yield path
            yield from _inside(path, above)
