from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_mme.runtimes import leases
from pytest_mme.runtimes.leases import RunDirectory, sweep


def test_a_run_directory_is_removed_when_its_owner_releases_it(tmp_path: Path) -> None:
    owned = RunDirectory(tmp_path)
    (owned.path / "server").mkdir()
    assert sweep(tmp_path) == []
    owned.release()
    assert list(tmp_path.iterdir()) == []


def test_a_kept_directory_is_never_swept(tmp_path: Path) -> None:
    owned = RunDirectory(tmp_path, keep=True)
    (owned.path / "log").write_text("text")
    owned.release()
    assert sweep(tmp_path) == []
    (kept,) = tmp_path.iterdir()
    assert kept.name == f"kept-{owned.path.name}"
    assert (kept / "log").read_text() == "text"


def test_the_directory_and_cgroups_of_a_dead_owner_are_swept(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    script = (
        "import os, sys; from pathlib import Path; from pytest_mme.runtimes.leases import RunDirectory\n"
        f"owned = RunDirectory(Path({str(tmp_path / 'runs')!r}))\n"
        f"(owned.path / 'cgroups').write_text({str(cgroup)!r} + '\\n')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert sweep(tmp_path / "runs") == [f"cgroup {cgroup}", f"directory {left}"]
    assert list((tmp_path / "runs").iterdir()) == []
    assert not cgroup.exists()


def test_a_cgroup_that_is_still_in_use_is_left_for_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_EMPTY_S", 0.0)
    busy = tmp_path / "cgroup" / "process"
    busy.mkdir(parents=True)
    owned = RunDirectory(tmp_path / "runs")
    (owned.path / leases.CGROUPS).write_text(f"{busy.parent}\n")
    owned.release()
    assert sweep(tmp_path / "runs") == []
    assert owned.path.is_dir()
    busy.rmdir()
    assert sweep(tmp_path / "runs") == [f"cgroup {busy.parent}", f"directory {owned.path}"]
    assert list((tmp_path / "runs").iterdir()) == []


def test_sweeping_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "somebody-elses").mkdir()
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "not-there") == []
    assert [path.name for path in tmp_path.iterdir()] == ["somebody-elses"]
