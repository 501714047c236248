"""Where a memory cgroup is made, on trees of both versions; the local tests use a real one."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.serving.memory import cgroups


def proc(tmp_path: Path, *, cgroup: str, mounts: str) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mounts.format(root=tmp_path))
    return folder


V1_MOUNTS = (
    "32 31 0:29 / {root}/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / {root}/memory rw,relatime - cgroup cgroup rw,memory\n"
)
V2_MOUNTS = "31 24 0:28 / {root}/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def enabled(monkeypatch: pytest.MonkeyPatch, file: str, *parents: Path) -> None:
    """Below *parents* the kernel gives a new cgroup the memory controller's *file*."""
    make = Path.mkdir

    def mkdir(self: Path, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        if self.parent in parents:
            (self / file).write_text("9223372036854771712\n")  # version 1's value for no limit

    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_a_version_1_cgroup_is_made_below_the_own_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "memory" / "mine"
    own.mkdir(parents=True)
    enabled(monkeypatch, "memory.limit_in_bytes", own)
    made = cgroups.create("kit", proc=proc(tmp_path, cgroup="4:memory:/mine\n2:cpu:/\n", mounts=V1_MOUNTS))
    assert (made.version, made.directory) == (1, own / "kit")
    made.limit(1000)
    assert (made.directory / "memory.limit_in_bytes").read_text() == "1000"


def test_a_version_2_cgroup_is_made_where_the_controller_is_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "unified" / "user.slice" / "run-1.scope"
    own.mkdir(parents=True)
    enabled(monkeypatch, "memory.max", own.parent)
    reported: list[Path] = []
    here = proc(tmp_path, cgroup="0::/user.slice/run-1.scope\n", mounts=V2_MOUNTS)
    made = cgroups.create("kit", before_creation=reported.append, proc=here)
    assert (made.version, made.directory) == (2, own.parent / "kit")
    assert reported == [own / "kit", own.parent / "kit"]
    assert not (own / "kit").exists()
    (made.directory / "memory.swap.max").write_text("max")
    made.limit(1000)
    assert [(made.directory / f"memory.{file}").read_text() for file in ("max", "swap.max")] == ["1000", "0"]


def test_in_a_container_the_own_path_may_lie_outside_the_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory").mkdir()
    enabled(monkeypatch, "memory.limit_in_bytes", tmp_path / "memory")
    mounts = "35 31 0:32 /docker/abc {root}/memory rw - cgroup cgroup rw,memory\n"
    made = cgroups.create("kit", proc=proc(tmp_path, cgroup="4:memory:/docker/abc\n", mounts=mounts))
    assert made.directory == tmp_path / "memory" / "kit"


@pytest.mark.parametrize("root", ["/", "/docker/abc"])
def test_in_a_cgroup_namespace_the_own_path_is_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    (tmp_path / "unified").mkdir()
    enabled(monkeypatch, "memory.max", tmp_path / "unified")
    mounts = V2_MOUNTS.replace("0:28 /", f"0:28 {root}")
    made = cgroups.create("kit", proc=proc(tmp_path, cgroup="0::/\n", mounts=mounts))
    assert made.directory == tmp_path / "unified" / "kit"


def test_when_no_cgroup_may_be_made_the_error_lists_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "unified" / "a").mkdir(parents=True)
    here = proc(tmp_path, cgroup="0::/a\n", mounts=V2_MOUNTS)
    with pytest.raises(OSError, match=r"unified/a/kit: the memory controller is not enabled there; .*unified/kit: "):
        cgroups.create("kit", proc=here)
    assert [path.name for path in (tmp_path / "unified").rglob("*")] == ["a"]


def test_version_2_reports_usage_without_page_cache_limit_and_kills(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("1000")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 100\nactive_file 200\n")
    (tmp_path / "memory.events").write_text("oom 3\noom_kill 2\n")
    cgroup = cgroups.CgroupV2(tmp_path)
    assert (cgroup.used_bytes(), cgroup.kills()) == (700, 2)


@pytest.mark.parametrize(
    ("kind", "name"), [(cgroups.CgroupV1, "memory.max_usage_in_bytes"), (cgroups.CgroupV2, "memory.peak")]
)
def test_the_peak_is_the_kernels_where_it_has_one(
    tmp_path: Path, kind: type[cgroups.CgroupV1 | cgroups.CgroupV2], name: str
) -> None:
    assert kind(tmp_path).peak_bytes() is None
    (tmp_path / name).write_text("1000\n")
    assert kind(tmp_path).peak_bytes() == 1000


def test_removing_a_cgroup_that_is_gone_succeeds(tmp_path: Path) -> None:
    assert cgroups.remove(tmp_path / "gone")
    (tmp_path / "busy" / "child").mkdir(parents=True)
    assert not cgroups.remove(tmp_path / "busy")


def test_a_cgroup_that_could_not_be_made_on_a_read_only_mount_counts_as_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rmdir", refuse)
    (tmp_path / "there").mkdir()
    assert cgroups.remove(tmp_path / "never-made")
    assert not cgroups.remove(tmp_path / "there")


@pytest.mark.parametrize(
    ("cgroup", "mounts", "file", "found"),
    [
        ("4:memory:/mine\n0::/\n", V1_MOUNTS, "memory.limit_in_bytes", "memory/mine"),
        (
            "4:cpu,memory:/mine\n",
            V1_MOUNTS.replace("rw,memory", "rw,cpu,memory"),
            "memory.limit_in_bytes",
            "memory/mine",
        ),
        ("4:memory:/gone\n", V1_MOUNTS, "memory.limit_in_bytes", "memory"),
        ("0::/mine\n", V2_MOUNTS, "memory.max", "unified/mine"),
        ("0::/mine/\n", V1_MOUNTS + V2_MOUNTS, "memory.max", "unified/mine"),
    ],
)
def test_the_own_cgroup_is_the_nearest_that_is_visible(
    tmp_path: Path, cgroup: str, mounts: str, file: str, found: str
) -> None:
    here = proc(tmp_path, cgroup=cgroup, mounts=mounts)
    with pytest.raises(OSError, match=f"no memory cgroup of {here} is visible here"):
        cgroups.own(here)
    (tmp_path / found).mkdir(parents=True)
    (tmp_path / found / file).touch()
    own = cgroups.own(here)
    assert (own.directory, own.version) == (tmp_path / found, 2 if file == "memory.max" else 1)
    (here / "mountinfo").rename(tmp_path / "ours")
    assert cgroups.own(here, mounts=tmp_path / "ours").directory == own.directory


def test_a_version_2_cgroup_that_lets_no_process_in_is_removed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unified").mkdir()
    enabled(monkeypatch, "memory.max", tmp_path / "unified")
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    here = proc(tmp_path, cgroup="0::/\n", mounts=V2_MOUNTS)
    with pytest.raises(OSError, match="unified/kit: no process may be moved there"):
        cgroups.create("kit", proc=here, lets_in=lambda _: False)
    assert not (tmp_path / "unified" / "kit").exists()
    made = cgroups.create("kit", proc=here, lets_in=lambda directory: directory.name == "kit")
    assert made.limit_bytes() == 9223372036854771712
    (made.directory / "memory.max").write_text("max\n")
    assert made.limit_bytes() is None


def test_without_a_mounted_hierarchy_there_is_nothing_to_try(tmp_path: Path) -> None:
    here = proc(tmp_path, cgroup="0::/\n", mounts="22 1 0:21 / {root}/tmp rw - tmpfs tmpfs rw,memory\n")
    with pytest.raises(OSError, match="tried nothing: none is mounted"):
        cgroups.create("kit", proc=here)
