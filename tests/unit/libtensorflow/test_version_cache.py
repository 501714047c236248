"""The TensorFlow versions in the cache: which is resolved, which are removed, what the error reports when none is available."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_mme import versions
from pytest_mme.errors import UnavailableError
from pytest_mme.libtensorflow import wheels
from pytest_mme.libtensorflow.capi import installed_directory
from pytest_mme.libtensorflow.version_cache import VersionCache

MIB = 1 << 20
LONG_AGO = 1_000_000_000.0
Keep = Callable[..., Path]


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Puts a version of that size into the cache, of which nothing but its size is real."""

    def put(version: str, *, mib: int = 1, used: float | None = None) -> Path:
        directory = tmp_path / version
        directory.mkdir()
        with (directory / wheels.CC).open("wb") as library:
            library.truncate(mib * MIB)
        (directory / "used").touch()
        if used is not None:
            os.utime(directory / "used", (used, used))
        return directory

    return put


@pytest.fixture
def version_cache(tmp_path: Path) -> VersionCache:
    return VersionCache(tmp_path, cap_mib=10)


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package index can be reached."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")


def names(version_cache: VersionCache) -> list[str]:
    return [kept.version for kept in version_cache.kept()]


def test_an_exact_version_is_itself(version_cache: VersionCache) -> None:
    assert version_cache.resolve("2.15.1") == "2.15.1"


def test_installed_is_the_installed_one_where_it_is(version_cache: VersionCache) -> None:
    assert version_cache.resolve("installed") == versions.installed()
    assert (
        version_cache.directory("installed") == version_cache.directory(versions.installed()) == installed_directory()
    )


@pytest.mark.usefixtures("no_index")
def test_a_minor_version_is_resolved_to_its_latest_cached_patch_release(
    version_cache: VersionCache, keep: Keep
) -> None:
    for version in ("2.15.9", "2.15.10", "2.15.1", "2.16.0"):
        keep(version)
    assert version_cache.resolve("2.15") == "2.15.10"
    assert version_cache.directory("2.15") == keep("2.15.11").with_name("2.15.10")  # once for all of its life


@pytest.mark.usefixtures("no_index")
@pytest.mark.parametrize(("asked", "named"), [("latest", "the latest TensorFlow"), ("2.14", "TensorFlow 2.14.*")])
def test_a_version_that_cannot_be_looked_up_is_unavailable(version_cache: VersionCache, asked: str, named: str) -> None:
    with pytest.raises(UnavailableError, match="needs no network: pytest-mme tensorflow list") as missing:
        version_cache.resolve(asked)
    assert missing.value.asked == named
    assert missing.value.seen.startswith("pip says: ")


@pytest.mark.usefixtures("no_index")
def test_a_version_that_cannot_be_fetched_is_unavailable_and_leaves_no_files(
    version_cache: VersionCache, tmp_path: Path
) -> None:
    with pytest.raises(UnavailableError, match=re.escape("TensorFlow 2.14.1 cannot be had here")):
        version_cache.directory("2.14.1")
    assert [path.name for path in tmp_path.iterdir() if path.name != "fetching.lock"] == []


@pytest.mark.usefixtures("no_index")
def test_a_cached_version_needs_no_network_and_counts_as_used(version_cache: VersionCache, keep: Keep) -> None:
    directory = keep("2.14.1", used=LONG_AGO)
    assert version_cache.directory("2.14.1") == directory
    (kept,) = version_cache.kept()
    assert kept.used > LONG_AGO
    assert (kept.version, kept.directory, kept.size_bytes) == ("2.14.1", directory, MIB)


def test_the_least_recently_used_versions_are_removed_when_the_cache_is_full(
    version_cache: VersionCache, keep: Keep
) -> None:
    for number, version in enumerate(("2.12.0", "2.13.0", "2.14.0", "2.15.0")):
        keep(version, mib=4, used=LONG_AGO + number)
    version_cache.prune()
    assert names(version_cache) == ["2.14.0", "2.15.0"]


def test_recently_requested_versions_are_kept_when_the_cache_is_full(version_cache: VersionCache, keep: Keep) -> None:
    for version in ("2.12.0", "2.13.0", "2.14.0"):
        keep(version, mib=9)
    version_cache.prune()
    assert names(version_cache) == ["2.12.0", "2.13.0", "2.14.0"]


def test_a_version_is_removed_by_name(version_cache: VersionCache, keep: Keep) -> None:
    keep("2.12.0")
    keep("2.13.0")
    version_cache.remove("2.12.0")
    assert names(version_cache) == ["2.13.0"]
    with pytest.raises(UnavailableError, match=re.escape("there is 2.13.0")):
        version_cache.remove("2.12.0")


def test_versions_can_be_removed_by_several_threads_at_once(tmp_path: Path, keep: Keep) -> None:
    for number in range(40):
        keep(f"2.12.{number}", used=LONG_AGO)

    def drop(_: int) -> list[str]:
        crowded = VersionCache(tmp_path, cap_mib=1)
        crowded.prune()
        return names(crowded)

    with ThreadPoolExecutor(8) as pool:
        listed = [pool.submit(names, VersionCache(tmp_path)) for _ in range(40)]
        assert set(map(tuple, pool.map(drop, range(8)))) == {tuple(names(VersionCache(tmp_path)))}
        assert [one.exception() for one in listed] == [None] * 40  # what goes while it is listed breaks nothing off
    assert len(names(VersionCache(tmp_path))) == 1


def test_a_version_removed_while_it_is_requested_is_fetched_again(
    version_cache: VersionCache, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look whether it is there and the note that it is used."""
    directory, touch = keep("2.12.1"), Path.touch
    kept: list[str] = []

    def gone_before(path: Path) -> None:
        if not kept:
            VersionCache(directory.parent).remove("2.12.1")
            kept.append("dropped")
        touch(path)

    monkeypatch.setattr(Path, "touch", gone_before)
    monkeypatch.setattr(version_cache, "_fetch", lambda *_: keep("2.12.1"))
    assert version_cache.directory("2.12.1") == directory
    assert kept == ["dropped"]


def test_versions_are_listed_oldest_first(version_cache: VersionCache, keep: Keep) -> None:
    for version in ("2.9.3", "2.10.1", "2.21.0"):
        keep(version)
    assert names(version_cache) == ["2.9.3", "2.10.1", "2.21.0"]


def test_a_wheel_without_the_libraries_is_refused(tmp_path: Path) -> None:
    import zipfile

    wheel = tmp_path / "tensorflow-2.12.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tensorflow/__init__.py", "")
    with pytest.raises(UnavailableError, match="it holds no TensorFlow libraries"):
        wheels.unpack(wheel, tmp_path / "target")


@pytest.mark.versions
def test_a_version_requested_by_several_threads_at_once_is_fetched_once(tmp_path: Path) -> None:
    shares: list[float] = []
    with ThreadPoolExecutor(3) as pool:
        found = [
            pool.submit(VersionCache(tmp_path).directory, "2.12.1", lambda _, share: shares.append(share))
            for _ in range(3)
        ]
        assert {one.result() for one in found} == {tmp_path / "2.12.1"}
    assert shares == sorted(shares)  # one download
    assert shares[-1] == 1.0
    directory = tmp_path / "2.12.1"
    assert {path.name for path in directory.iterdir()} == {wheels.CC, wheels.FRAMEWORK, "include", "used"}
    assert (directory / "include" / "tensorflow" / "c" / "c_api.h").is_file()
    VersionCache(tmp_path).remove("2.12.1")  # it is large


def test_libraries_of_another_version_are_not_kept(
    version_cache: VersionCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(_: Path, target: Path) -> None:
        for name in (wheels.CC, wheels.FRAMEWORK):
            (target / name).symlink_to(installed_directory() / name)

    monkeypatch.setattr(wheels, "fetched", lambda *_: contextlib.nullcontext(Path("wheel")))
    monkeypatch.setattr(wheels, "unpack", installed)
    with pytest.raises(UnavailableError, match=f"the wheel's libraries call themselves {versions.installed()}"):
        version_cache.directory("2.12.1")
    assert version_cache.kept() == []


@pytest.mark.versions
def test_libraries_that_cannot_be_opened_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = wheels.unpack

    def damaged(wheel: Path, target: Path) -> None:
        unpack(wheel, target)
        os.truncate(target / wheels.CC, 1000)

    monkeypatch.setattr(wheels, "unpack", damaged)
    with pytest.raises(UnavailableError, match="its libraries cannot be opened here"):
        VersionCache(tmp_path).directory("2.12.1")
    assert VersionCache(tmp_path).kept() == []
