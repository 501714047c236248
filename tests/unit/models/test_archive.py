"""Archives: packed reproducibly, unpacked safely."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.errors import ArchiveError
from pytest_mme.models.archive import extract, pack, versions


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def test_two_packs_are_the_same_bytes(tmp_path: Path) -> None:
    files = {"1/saved_model.pb": b"graph", "1/variables/variables.index": b"x" * 1000, "2/saved_model.pb": b""}
    one, two = fill(tmp_path / "one", files), fill(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "1/saved_model.pb", (1, 1))
    (two / "1/saved_model.pb").chmod(0o600)
    pack(one, tmp_path / "one.tar.gz")
    pack(two, tmp_path / "elsewhere.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "elsewhere.tar.gz").read_bytes()
    assert (tmp_path / "one.tar.gz").read_bytes()[4:8] == bytes(4)  # when gzip ran
    with tarfile.open(tmp_path / "one.tar.gz") as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname) for one in tar} == {(0, 0, 0, "")}


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 250
)


@given(files=st.dictionaries(NAMES, st.binary(max_size=3000), max_size=4), folder=NAMES)
def test_what_was_packed_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], folder: str
) -> None:
    base = tmp_path_factory.mktemp("round")
    (base / "in" / folder).mkdir(parents=True)
    fill(base / "in" / folder, files)
    pack(base / "in", base / "a.tar.gz")
    extract(base / "a.tar.gz", base / "deep" / "out")
    assert tree(base / "deep" / "out") == tree(base / "in")


def test_a_folder_can_be_packed_below_another(tmp_path: Path) -> None:
    pack(fill(tmp_path / "in", {"saved_model.pb": b"x"}), tmp_path / "a.tar.gz", inside="7")
    extract(tmp_path / "a.tar.gz", tmp_path / "out")
    assert tree(tmp_path / "out") == {"7": None, "7/saved_model.pb": b"x"}


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_files_and_folders_are_packed(tmp_path: Path, kind: str) -> None:
    folder = fill(tmp_path / "in", {"file": b"x"})
    (folder / "odd").symlink_to("file") if kind == "link" else os.mkfifo(folder / "odd")
    with pytest.raises(ArchiveError, match="odd is neither a file nor a folder"):
        pack(folder, tmp_path / "a.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def refused(archive: Path, said: str, **bounds: int) -> ArchiveError:
    """Unpack, expect the refusal, and that nothing is left of it."""
    target = archive.parent / "target" / "model"
    with pytest.raises(ArchiveError, match=said) as caught:
        extract(archive, target, **bounds)
    assert list(target.parent.iterdir()) == []
    return caught.value


UNSAFE = {
    "absolute": member("/tmp/mme-escaped"),
    "parent": member("1/../../mme-escaped"),
    "symlink": member("1/link", tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": member("1/link", tarfile.LNKTYPE, link="1/saved_model.pb"),
    "device": member("1/null", tarfile.CHRTYPE),
    "pipe": member("1/pipe", tarfile.FIFOTYPE),
    "twice": member("1/saved_model.pb"),
    "file and folder": member("1/saved_model.pb/below"),
    "folder and file": member("1"),
}


@pytest.mark.parametrize("kind", UNSAFE)
def test_an_unsafe_archive_is_refused_as_a_whole(tmp_path: Path, kind: str) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", member("1/saved_model.pb"), UNSAFE[kind], member("2/saved_model.pb"))
    error = refused(archive, "unsafe or too large")
    assert UNSAFE[kind].name in error.seen
    assert "tar --dereference" in str(error)


def test_too_many_members_and_too_many_bytes_are_refused(tmp_path: Path) -> None:
    members = [member(f"1/{number}", size=1000) for number in range(10)]
    archive = tar_of(tmp_path / "a.tar.gz", *members, content=b"0" * 1000)
    refused(archive, "more than 9 members", max_members=9)
    refused(archive, "10000 bytes or more when unpacked, allowed are 9999", max_bytes=9999)
    extract(archive, tmp_path / "fits", max_members=10, max_bytes=10_000)


def test_a_header_that_claims_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(header + bytes(4096)))
    refused(path, "a tar header that claims 8589934592 bytes")


def test_endless_padding_is_refused(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", member("1/saved_model.pb"))
    with archive.open("ab") as file:
        file.write(gzip.compress(bytes(17 << 20)))
    refused(archive, "behind its last member")


def cut(content: bytes) -> bytes:
    return content[:-20]


def flip(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


@pytest.mark.parametrize(
    "damage",
    [cut, flip, lambda content: content[:200], gzip.decompress, lambda _: b"", lambda _: b"PK\3\4 not a tar"],
    ids=["cut", "flipped", "cut early", "not gzipped", "empty", "no tar"],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", member("1/saved_model.pb", size=5000), content=os.urandom(5000))
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, "is not a whole gzipped tar")


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", member("1/saved_model.pb"))
    target = fill(tmp_path / "target", {"mine": b"x"})
    with pytest.raises(ArchiveError, match="target exists"):
        extract(archive, target)
    assert tree(target) == {"mine": b"x"}


def test_a_missing_archive_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "none.tar.gz", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_versions_are_numbered_folders_with_a_saved_model(tmp_path: Path) -> None:
    fill(tmp_path, dict.fromkeys(("10/saved_model.pb", "2/saved_model.pbtxt", "3/x", "v1/saved_model.pb", "4"), b""))
    assert versions(tmp_path) == [(2, tmp_path / "2"), (10, tmp_path / "10")]


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ([], "nothing at all"),
        (["saved_model.pb"], "saved_model.pb"),
        (["export/1/saved_model.pb"], "export, export/1, export/1/saved_model.pb"),
        ([f"{number:02}.h5" for number in range(20)], "07.h5 and 12 more"),
    ],
)
def test_no_version_is_an_error_that_says_what_there_is(tmp_path: Path, files: list[str], seen: str) -> None:
    fill(tmp_path, dict.fromkeys(files, b""))
    with pytest.raises(ArchiveError, match="holds no version of a model") as caught:
        versions(tmp_path)
    assert caught.value.seen.endswith(seen)
