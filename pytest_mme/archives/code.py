"""The user code in an archive: an `inference.py` and the files beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

Files = tuple[tuple[str, bytes], ...]
"""Paths below ``code/`` and their contents."""

INFERENCE = "inference.py"
OP_LIBRARIES = "op_libraries"
"""The folder in ``code/`` that holds op libraries. Assumed: AWS documents no such libraries in archives."""
_LEFT_OUT = "__pycache__"


def files_of(handler: Path | str) -> Files:
    """Return the files of *handler*: the text of an `inference.py`, or the path of one or of a folder that holds one.

    Raises ValueError when the path leads to neither.
    """
    if isinstance(handler, str) and handler.endswith(".py"):
        raise ValueError(f"handler={handler!r}: give a text, or a file as Path({handler!r})")
    if isinstance(handler, str):
        return ((INFERENCE, handler.encode()),)
    if handler.is_file():
        return ((INFERENCE, handler.read_bytes()),)
    if (handler / INFERENCE).is_file():
        paths = sorted(path for path in handler.rglob("*") if path.is_file() and _LEFT_OUT not in path.parts)
        return tuple((path.relative_to(handler).as_posix(), path.read_bytes()) for path in paths)
    seen = f"a folder without {INFERENCE}" if handler.is_dir() else "nothing of that name"
    raise ValueError(f"handler={str(handler)!r}, {seen}: give an {INFERENCE}, a folder that holds one, or its text")


def code_in(directory: Path) -> Path | None:
    """Return the folder of user code in an unpacked archive; None when there is none."""
    code = directory / "code"
    try:
        return code if (code / INFERENCE).is_file() else None
    except OSError:  # not a folder, such as a name that is too long: `versions` reports it
        return None


def op_libraries_in(directory: Path) -> list[Path]:
    """Return the op libraries in an unpacked archive; only the process of its model loads them."""
    return sorted((directory / "code" / OP_LIBRARIES).glob("*.so"))


def digest(files: Files) -> str:
    """Return a digest of the paths and contents of *files*, 64 hex digits."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def write_code(files: Files, folder: Path) -> None:
    """Write *files* below ``<folder>/code``."""
    for name, content in files:
        path = folder / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
