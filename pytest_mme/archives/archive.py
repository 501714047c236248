"""Packs `model.tar.gz` reproducibly and unpacks it safely.

Standard library only: the serving processes use this, too.
"""

from __future__ import annotations

import errno
import gzip
import itertools
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pytest_mme.errors import ArchiveError, shown

MAX_BYTES = 8 << 30
"""The most bytes of an archive's files when unpacked. Not a ratio: weights of zeros compress a thousandfold."""
MAX_MEMBERS = 10_000
"""How many files and folders an archive may hold."""
MAX_DEPTH = 100
"""How deeply its folders may be nested: Python's `shutil` cannot remove one that is much deeper."""
MAX_VERSION = (1 << 63) - 1
"""The highest number of a version: TensorFlow Serving keeps versions as int64 and ignores folders beyond it."""

_MAX_HEADER_BYTES = 1 << 20  # of one member: long names, pax records and sparse maps are read into memory
_MAX_HEADERS_BYTES = 64 << 20  # of all members together
_MAX_TAIL_BYTES = 16 << 20  # tar pads to whole records, by default of 10 kB
_CHUNK_BYTES = 1 << 20
_MAX_LISTED = 1000  # a wrong path may lead to a whole file system
_MAX_PLAIN = 300  # characters of a path
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_TAKEN = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
_UNNAMEABLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_GZIP_TAIL_BYTES = 8  # RFC 1952
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_PACK_AGAIN = "pack it again: tar --dereference --hard-dereference -czf model.tar.gz -C <folder> ."
_BOUNDS = (
    "check that it is the right archive; pytest_mme.archives.archive has the bounds: MAX_BYTES, MAX_MEMBERS, MAX_DEPTH"
)


def pack(folder: Path, archive: Path, *, inside: str = "") -> None:
    """Pack the contents of *folder* into *archive*, below the folder *inside* when one is named.

    The same contents always give the same bytes. Raises `ArchiveError` when *folder* holds anything but folders and
    regular files.
    """
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}.") as drafts:
        draft = Path(drafts, "draft")
        with (
            draft.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path in sorted(folder.rglob("*")):
                member = tarfile.TarInfo((inside / path.relative_to(folder)).as_posix())  # owner and time: root, 1970
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    raise ArchiveError(
                        f"{folder} cannot be packed",
                        f"{path} is neither a file nor a folder",
                        "replace it by a copy of what it refers to, or remove it",
                    )
                if path.is_dir():
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(member)
                    continue
                member.size, member.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    tar.addfile(member, content)
        draft.replace(archive)


def extract(archive: Path, target: Path, *, max_bytes: int | None = None, max_members: int | None = None) -> None:
    """Unpack *archive* into the new folder *target*; when that fails, nothing is left.

    Raises `ArchiveError` when *archive* is not a whole gzipped tar, holds anything but folders and regular files below
    *target*, or more than *max_members* of them or *max_bytes* in them; by default `MAX_MEMBERS` and `MAX_BYTES`.
    The bounds are checked before each file is written.
    """
    max_bytes = MAX_BYTES if max_bytes is None else max_bytes
    max_members = MAX_MEMBERS if max_members is None else max_members
    if target.exists():
        raise ArchiveError(f"{archive} is not unpacked", f"{target} exists", "give a folder that does not exist yet")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as drafts:
        draft = Path(drafts, "draft")
        draft.mkdir()
        draft.chmod(0o755)
        try:
            with _Stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in _members(archive, stream, tar, max_bytes, max_members):
                    _unpack(archive, tar, member, draft)
                stream.drain()
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
            seen = f"it is not a whole gzipped tar: {archive.stat().st_size} bytes; {type(error).__name__}: {error}"
            raise ArchiveError(f"{archive} is not unpacked", seen, _PACK_AGAIN) from error
        draft.rename(target)


class _Stream(gzip.GzipFile):
    """A gzip stream for `tarfile` that is read forwards only, and never much beyond what was allowed.

    Headers may claim any size, position and number of entries, and `tarfile` trusts them.
    """

    def __init__(self, archive: Path) -> None:
        super().__init__(archive, "rb")
        self._archive = archive
        self._last = b""
        self.allow(0)

    def allow(self, end: int) -> None:
        """Let `tarfile` read to *end*, where the next header begins, and that header."""
        self._end = end + _MAX_HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or self.tell() + size > self._end:
            raise _too_large(self._archive, f"a header of more than {_MAX_HEADER_BYTES} bytes")
        self._last = super().read(size)
        return self._last

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset < self.tell():
            raise tarfile.ReadError("a member that begins within another one")
        return super().seek(offset, whence)

    def drain(self) -> None:
        """Read to the end, so that a cut or damaged tail is noticed; `tarfile` has read all members."""
        if self._last.strip(b"\0"):
            raise tarfile.ReadError("a damaged header")  # tarfile takes it for the end of the archive
        start = self.tell()
        while super().read(_CHUNK_BYTES):
            if self.tell() - start > _MAX_TAIL_BYTES:
                raise _too_large(self._archive, f"more than {_MAX_TAIL_BYTES} bytes behind its last member")


def _members(
    archive: Path, stream: _Stream, tar: tarfile.TarFile, max_bytes: int, max_members: int
) -> Iterator[tarfile.TarInfo]:
    total = 0
    for number, member in enumerate(tar, start=1):
        if member.size < 0:
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        total += member.size
        if number > max_members:
            raise _too_large(archive, f"more than {max_members} members")
        if total > max_bytes:
            raise _too_large(archive, f"{total} bytes or more when unpacked, allowed are {max_bytes}")
        if tar.offset - total > _MAX_HEADERS_BYTES:
            raise _too_large(archive, f"more than {_MAX_HEADERS_BYTES} bytes of headers")
        stream.allow(tar.offset)
        yield member


def _unpack(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, draft: Path) -> None:
    name = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()):
        kind = _KINDS.get(member.type, "neither a file nor a folder")
        raise _unsafe(archive, f"{shown(member.name)}, which is {kind}")
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise _unsafe(archive, f"{shown(member.name)}, which leads outside the folder it is unpacked into")
    if len(name.parts) > MAX_DEPTH:
        raise _too_large(archive, f"{shown(member.name)}, {len(name.parts)} folders deep")
    try:
        _write(tar, member, draft / name)
    except OSError as error:
        if error.errno in _TAKEN:
            seen = f"{shown(member.name)}, which is there already, or is both a file and a folder"
            raise _unsafe(archive, seen) from error
        if error.errno in _UNNAMEABLE:
            raise _unsafe(archive, f"{shown(member.name)}: {error.strerror}") from error
        raise


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None  # only links have none, and they are refused before
    with content, path.open("xb") as file:
        shutil.copyfileobj(content, file, _CHUNK_BYTES)


def _unsafe(archive: Path, seen: str, advice: str = _PACK_AGAIN) -> ArchiveError:
    return ArchiveError(f"{archive} is not unpacked: it is unsafe or too large", f"it holds {seen}", advice)


def _too_large(archive: Path, seen: str) -> ArchiveError:
    return _unsafe(archive, seen, _BOUNDS)


def checksum(archive: Path) -> str:
    """Return what distinguishes archives of the same name: the CRC-32 and length of the content, from the end of the gzip file."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - _GZIP_TAIL_BYTES))
        return file.read().hex()


def versions(directory: Path) -> list[tuple[int, Path]]:
    """Return the versions in an unpacked archive: its numbered folders that hold a `saved_model.pb`, ascending.

    Raises `ArchiveError` when there is none; the message lists what there is instead.
    """
    try:
        found = sorted((int(path.name), path) for path in directory.iterdir() if _is_version(path))
    except FileNotFoundError as error:
        raise _no_version(directory, "there is no such folder", "look at the path") from error
    except NotADirectoryError as error:
        raise _no_version(directory, "it is not a folder", "look at the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise _no_version(directory, f"it cannot be read: {why}", "look at the path") from error
    if not found:
        raise _no_version(
            directory,
            _listing(directory),
            "put the SavedModel into a numbered folder at the top of the archive: 1/saved_model.pb, 1/variables/…",
        )
    return found


def _no_version(directory: Path, seen: str, advice: str) -> ArchiveError:
    return ArchiveError(f"{_plain(str(directory))} holds no version of a model", seen, advice)


def _is_version(path: Path) -> bool:
    name = path.name
    return name.isascii() and name.isdecimal() and int(name) <= MAX_VERSION and is_saved_model(path)


def is_saved_model(folder: Path) -> bool:
    """Whether TensorFlow's loader recognises *folder* as a SavedModel."""
    return any((folder / name).is_file() for name in _SAVED_MODEL_FILES)


def _listing(directory: Path, most: int = 8) -> str:
    """Return the first names below *directory*; folders end in a slash."""
    found = sorted(itertools.islice(directory.rglob("*"), _MAX_LISTED))
    names = [_plain(path.relative_to(directory).as_posix()) + "/" * path.is_dir() for path in found[:most]]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    more += " at least" if len(found) == _MAX_LISTED else ""
    return (", ".join(names) or "nothing at all") + more


def _plain(name: str) -> str:
    """Return a name for a message, quoted when it is long or unprintable."""
    return name if name.isprintable() and len(name) <= _MAX_PLAIN else shown(name)
