"""Archives: packed reproducibly, unpacked safely."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.archives import archive as archive_module
from pytest_mme.archives.archive import extract, pack, versions
from pytest_mme.errors import ArchiveError
from tests import hostile
from tests.users import nobody


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


def test_packing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
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
def test_a_packed_folder_is_unpacked_unchanged(
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


def refused(content: bytes, folder: Path, **bounds: int) -> ArchiveError:
    """Unpack, expect the refusal, and that nothing is left of it."""
    archive, target = folder / "a.tar.gz", folder / "target" / "model"
    archive.write_bytes(content)
    with pytest.raises(ArchiveError) as caught:
        extract(archive, target, **bounds)
    assert list(target.parent.iterdir()) == []
    assert not list(folder.parent.glob("mme-escaped"))
    return caught.value


@pytest.mark.parametrize("kind", hostile.NOT_WHOLE)
def test_an_incomplete_gzipped_tar_is_refused(tmp_path: Path, kind: str) -> None:
    error = refused(hostile.NOT_WHOLE[kind], tmp_path)
    assert error.seen.startswith("it is not a whole gzipped tar: ")
    assert "tar --dereference" in error.advice


@pytest.mark.parametrize("kind", hostile.UNSAFE)
def test_an_unsafe_archive_is_refused_as_a_whole(tmp_path: Path, kind: str) -> None:
    content, seen = hostile.UNSAFE[kind]
    error = refused(content, tmp_path)
    assert seen in error.seen
    assert len(str(error)) < 1000


@pytest.mark.parametrize("kind", hostile.BOUNDS)
@pytest.mark.parametrize("how", ["parameters", "constants"])
def test_bounds_are_absolute_and_can_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    """What is refused is less than a hundredth of its size; what fits is, too."""
    content, seen = hostile.BOUNDS[kind]
    assert len(content) < 80_000
    bounds = {"max_members": 100, "max_bytes": 8_000_000}
    if how == "constants":
        monkeypatch.setattr(archive_module, "MAX_MEMBERS", 100)
        monkeypatch.setattr(archive_module, "MAX_BYTES", 8_000_000)
        bounds = {}
    error = refused(content, tmp_path, **bounds)
    assert seen in error.seen
    assert "MAX_BYTES" in error.advice
    extract(tmp_path / "a.tar.gz", tmp_path / "fits", max_members=101, max_bytes=8 << 20)


def test_no_file_is_written_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(archive_module, "_write", lambda *of: written.append(of[1].size))
    refused(hostile.BOUNDS["a bomb"][0], tmp_path, max_bytes=8_000_000)
    assert written == [4 << 20]


@given(st.data())
def test_any_bytes_are_unpacked_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A sparse file in pax format has every kind of header; single bytes of it are changed and sums put right."""
    folder = tmp_path_factory.mktemp("odd")
    raw = bytearray(gzip.decompress(hostile.sparse()))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[place] = byte
    hostile.sum_up(raw)
    (folder / "a.tar.gz").write_bytes(gzip.compress(raw))
    with contextlib.suppress(ArchiveError):
        extract(folder / "a.tar.gz", folder / "target")
        shutil.rmtree(folder / "target")
    assert [path.name for path in folder.iterdir()] == ["a.tar.gz"]


def test_a_sparse_file_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(hostile.sparse())
    extract(tmp_path / "a.tar.gz", tmp_path / "target")
    assert (tmp_path / "target/1/sparse").read_bytes() == b"d" * 512 + bytes(488) + b"d" * 512


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(hostile.tar_of(hostile.member("1/saved_model.pb")))
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


def test_a_folder_beyond_int64_is_not_a_version(tmp_path: Path) -> None:
    names = (f"{2**63 - 1}/saved_model.pb", f"{2**63}/saved_model.pb", f"{'9' * 255}/saved_model.pb")
    fill(tmp_path, dict.fromkeys(names, b""))
    assert versions(tmp_path) == [(2**63 - 1, tmp_path / str(2**63 - 1))]


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ([], "nothing at all"),
        (["saved_model.pb"], "saved_model.pb"),
        (["export/1/saved_model.pb"], "export/, export/1/, export/1/saved_model.pb"),
        (["1"], "1"),
        (["a\nb"], r"'a\nb'"),
        ([f"{number:02}.h5" for number in range(20)], "07.h5 and 12 more"),
        ([f"{number:04}.h5" for number in range(1001)], " and 992 more at least"),
    ],
)
def test_the_error_of_a_folder_without_versions_lists_its_contents(tmp_path: Path, files: list[str], seen: str) -> None:
    fill(tmp_path, dict.fromkeys(files, b""))
    with pytest.raises(ArchiveError, match="holds no version of a model") as caught:
        versions(tmp_path)
    assert caught.value.seen.endswith(seen)


def test_the_error_of_a_folder_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with nobody(), pytest.raises(ArchiveError) as caught:
        versions(tmp_path / "closed")
    assert (caught.value.seen, caught.value.advice) == ("it cannot be read: Permission denied", "look at the path")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("missing", "there is no such folder"),
        ("file", "it is not a folder"),
        ("n" * 300, "it cannot be read: File name too long"),
        ("\0", "it cannot be read: embedded null byte"),
    ],
    ids=["missing", "file", "long", "NUL"],
)
def test_the_error_of_an_unreadable_folder_says_why(tmp_path: Path, path: str, seen: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError) as caught:
        versions(tmp_path / path)
    assert (caught.value.seen, caught.value.advice) == (seen, "look at the path")
