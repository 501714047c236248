"""The store of archives: each is made once, and old ones are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_mme.archives.store import Store
from tests.unit.models.conftest import ROOT

MIB = 1 << 20
LONG_AGO = (1_000_000_000, 1_000_000_000)


def produce(path: Path, mib: int = 0) -> None:
    path.write_bytes(b"x" * (mib * MIB or 1))


def refuse(_path: Path) -> None:
    raise AssertionError("made twice")


def test_an_archive_is_made_once(store: Store) -> None:
    assert "aa" not in store
    path = store.archive("aa", produce)
    assert path.read_bytes() == b"x"
    assert "aa" in store
    assert store.archive("aa", refuse) == path


def test_a_failure_leaves_nothing_and_is_not_remembered(store: Store) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.archive("aa", fail)
    assert [path.name for path in store.directory.iterdir()] == ["locks"]
    assert store.archive("aa", produce).read_bytes() == b"x"


def test_racing_processes_make_an_archive_once(store: Store) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom pytest_mme.archives.store import Store\n"
        "def produce(path):\n"
        "    sys.stdout.write('made ')\n"
        "    path.write_bytes(b'x' * 3_000_000)\n"
        "sys.stdin.readline()\n"
        "for key in ('aa', 'ab', 'aa', 'ba'):\n"
        "    assert Store(Path(sys.argv[1])).archive(key, produce).stat().st_size == 3_000_000\n"
    )
    command = [sys.executable, "-c", script, str(store.directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    racers = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]  # plain keywords
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    printed = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert " ".join(printed).split() == ["made"] * 3


def test_the_least_recently_used_archives_over_the_cap_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path, cap_mib=3)
    for age_s, key in enumerate(("newer", "older", "used"), start=100_000):
        path = store.archive(key, lambda path: produce(path, 1))
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    store.archive("used", refuse)
    store.archive("more", lambda path: produce(path, 1))
    assert {key for key in ("newer", "older", "used", "more") if key in store} == {"newer", "used", "more"}


def test_an_archive_used_within_the_hour_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, cap_mib=1)
    for key in ("aa", "bb", "cc"):
        store.archive(key, lambda path: produce(path, 1))
    assert all(key in store for key in ("aa", "bb", "cc"))
    store.prune(in_use_s=-1)
    assert "cc" in store
    assert "aa" not in store


def test_an_archive_used_during_the_pruning_is_kept(store: Store) -> None:
    path = store.archive("aa", produce)
    store._remove(path, used=LONG_AGO[0])
    assert "aa" in store
    store._remove(path, used=path.stat().st_mtime)
    assert "aa" not in store


def test_drafts_of_killed_processes_are_removed(store: Store) -> None:
    old, fresh = store.directory / ".draft-old", store.directory / ".draft-fresh"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "half").touch()
    os.utime(old, LONG_AGO)
    store.prune()
    assert (old.exists(), fresh.exists()) == (False, True)


def test_an_archive_that_is_locked_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, cap_mib=0)
    os.utime(store.archive("aa", produce), LONG_AGO)
    with store._lock("aa"):
        store.prune()
        assert "aa" in store
    store.prune()
    assert "aa" not in store


def test_the_store_is_in_the_users_cache_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store().directory == tmp_path / "pytest-mme" / "models"
