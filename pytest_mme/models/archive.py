"""`model.tar.gz`: packed so that equal folders give equal bytes, unpacked so that no archive can do harm.

Standard library only: the serving processes use this, too.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pytest_mme.errors import ArchiveError

MAX_BYTES = 8 << 30
MAX_MEMBERS = 100_000
_MAX_HEADER_BYTES = 1 << 20  # long names and pax records are read whole, whatever size they claim
_MAX_TAIL_BYTES = 16 << 20  # tar pads to whole records, 10 kB unless it was told otherwise
_CHUNK_BYTES = 1 << 20
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_PACK_AGAIN = "pack it again: tar --dereference --hard-dereference -czf model.tar.gz -C <folder> ."


def pack(folder: Path, archive: Path, *, inside: str = "") -> None:
    """Pack what *folder* contains into *archive*, below the folder *inside* if one is named.

    The same contents give the same bytes, anywhere and at any time. Raises `ArchiveError` when *folder* holds anything but folders and regular files.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}.") as drafts:
        draft = Path(drafts, "draft")
        with draft.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            _pack(folder, packed, inside)
        draft.replace(archive)


def _pack(folder: Path, packed: gzip.GzipFile, inside: str) -> None:
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            member = tarfile.TarInfo((inside / path.relative_to(folder)).as_posix())  # owner and time: root, 1970
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ArchiveError(f"{folder} cannot be packed", f"{path} is neither a file nor a folder", "remove it")
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(member, content)


def extract(archive: Path, target: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> None:
    """Unpack *archive* into the new folder *target*: all of it, or nothing is left.

    Raises `ArchiveError` when *archive* is no whole gzipped tar, holds anything but folders and regular files below
    *target*, or more than *max_members* of them or *max_bytes* in them.
    """
    if target.exists():
        raise ArchiveError(f"{archive} is not unpacked", f"{target} exists", "give a folder that does not exist yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        draft.chmod(0o755)
        with _readable(archive), _Bounded(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in _members(archive, tar, max_bytes, max_members):
                    _unpack(archive, tar, member, draft)
            stream.drain()
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft)
        raise


class _Bounded(gzip.GzipFile):
    """A gzip stream that never gives many bytes at once."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive, "rb")
        self._archive = archive

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADER_BYTES:
            raise _unsafe(self._archive, f"a tar header that claims {size} bytes")
        return super().read(size)

    def drain(self) -> None:
        """Read to the end, so that a cut or damaged tail is noticed."""
        start = self.tell()
        while super().read(_CHUNK_BYTES):
            if self.tell() - start > _MAX_TAIL_BYTES:
                raise _unsafe(self._archive, f"more than {_MAX_TAIL_BYTES} bytes behind its last member")


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        seen = f"{archive.stat().st_size} bytes; {type(error).__name__}: {error}"
        raise ArchiveError(f"{archive} is not a whole gzipped tar", seen, _PACK_AGAIN) from error


def _members(archive: Path, tar: tarfile.TarFile, max_bytes: int, max_members: int) -> Iterator[tarfile.TarInfo]:
    total = 0
    for number, member in enumerate(tar, start=1):
        total += member.size
        if number > max_members:
            raise _unsafe(archive, f"more than {max_members} members")
        if total > max_bytes:
            raise _unsafe(archive, f"{total} bytes or more when unpacked, allowed are {max_bytes}")
        if not (member.isreg() or member.isdir()):
            raise _unsafe(archive, f"{member.name!r}, which is a link, a device or a pipe")
        yield member


def _unpack(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, draft: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise _unsafe(archive, f"{member.name!r}, which leads outside the folder it is unpacked into")
    try:
        _write(tar, member, draft / name)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _unsafe(archive, f"{member.name!r}, which is there already, or is both a file and a folder") from error


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None  # only links have none, and they were refused
    with content, path.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)


def _unsafe(archive: Path, seen: str) -> ArchiveError:
    return ArchiveError(f"{archive} is not unpacked: it is unsafe or too large", f"it holds {seen}", _PACK_AGAIN)


def versions(directory: Path) -> list[tuple[int, Path]]:
    """The versions in an unpacked archive: its numbered folders that hold a `saved_model.pb`, ascending.

    Raises `ArchiveError` when there is none, saying what there is instead.
    """
    if not directory.is_dir():
        raise ArchiveError(f"{directory} holds no version of a model", "there is no such folder", "look at the path")
    found = sorted((int(path.name), path) for path in directory.iterdir() if _is_version(path))
    if not found:
        seen = _some(sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*")))
        raise ArchiveError(
            f"{directory} holds no version of a model",
            seen,
            "put the SavedModel into a numbered folder at the top of the archive: 1/saved_model.pb, 1/variables/…",
        )
    return found


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal() and is_saved_model(path)


def is_saved_model(folder: Path) -> bool:
    """Whether *folder* is what TensorFlow's loader takes for a SavedModel."""
    return any((folder / name).is_file() for name in _SAVED_MODEL_FILES)


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing at all") + more
