"""What is read of a container: from its engine's replies, or from the kernel's files on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from pytest_mme.runtimes.docker import probes
from pytest_mme.runtimes.docker.creation import NO_LIMIT
from pytest_mme.runtimes.docker.probes import CgroupProbe, EngineProbe, Probe, probe_of
from pytest_mme.serving.memory.cgroups import CgroupV1, CgroupV2

MIB = 2**20
ID = "c0ffee"


class Container:
    """A container of the engine's SDK."""

    id = ID

    def __init__(self, *, memory: dict[str, Any] | None = None, limit: int = 0, pid: int = 0) -> None:
        self.memory_stats, self.limit = memory or {}, limit
        self.attrs: dict[str, Any] = {"State": {"Pid": pid}, "HostConfig": {"Memory": limit}}
        self.rows: list[list[str]] = []
        self.error: APIError | None = None

    def _answer(self) -> None:
        if self.error:
            raise self.error

    def stats(self, *, stream: bool) -> dict[str, Any]:
        self._answer()
        assert not stream
        return {"memory_stats": self.memory_stats}

    def reload(self) -> None:
        self._answer()
        self.attrs = {**self.attrs, "HostConfig": {"Memory": self.limit}}

    def top(self, *, ps_args: str) -> dict[str, Any]:
        self._answer()
        assert ps_args == "-eo pid,args"
        return {"Titles": ["PID", "COMMAND"], "Processes": self.rows}


def engine_probe(container: Any) -> Probe:
    return EngineProbe(container)


def best_probe(container: Any) -> Probe:
    return probe_of(container)


# Asked of the engine

VERSION_1 = {
    "usage": 500 * MIB,
    "stats": {
        "inactive_file": 1,  # of the cgroup itself, without those below it
        "active_file": 2,
        "total_inactive_file": 30 * MIB,
        "total_active_file": 70 * MIB,
        "total_cache": 110 * MIB,
    },
}
VERSION_2 = {"usage": 500 * MIB, "stats": {"inactive_file": 30 * MIB, "active_file": 70 * MIB, "file": 110 * MIB}}


@pytest.mark.parametrize("memory", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_page_cache_is_not_counted(memory: dict[str, Any]) -> None:
    assert engine_probe(Container(memory=memory)).used_bytes() == 400 * MIB


@pytest.mark.parametrize(("memory", "peak"), [({"usage": 5, "max_usage": 9}, 9), ({"usage": 5}, None)], ids=str)
def test_the_peak_is_the_engines_where_it_has_one(memory: dict[str, Any], peak: int | None) -> None:
    probe = engine_probe(Container(memory=memory))
    probe.used_bytes()
    assert probe.peak_bytes() == peak


@pytest.mark.parametrize(
    ("memory", "used"), [({}, 0), ({"usage": 5 * MIB}, 5 * MIB), ({"usage": 5 * MIB, "stats": {}}, 5 * MIB)], ids=str
)
def test_a_missing_number_of_the_engine_counts_as_zero(memory: dict[str, Any], used: int) -> None:
    assert engine_probe(Container(memory=memory)).used_bytes() == used


@pytest.mark.parametrize(
    ("set_to", "limit"),
    [(0, None), (NO_LIMIT, None), (NO_LIMIT + 1, None), (300 * MIB, 300 * MIB), (1, 1), (NO_LIMIT - 1, NO_LIMIT - 1)],
)
def test_the_limit_is_the_one_that_the_engine_reports(set_to: int, limit: int | None) -> None:
    assert engine_probe(Container(limit=set_to)).limit_bytes() == limit


def test_a_changed_limit_is_reported() -> None:
    container = Container(limit=300 * MIB)
    probe = engine_probe(container)
    container.limit = 200 * MIB
    assert probe.limit_bytes() == 200 * MIB


def test_the_engine_does_not_count_kills() -> None:
    assert engine_probe(Container()).kills() is None


def test_processes_are_listed_by_pid() -> None:
    container = Container()
    container.rows = [["1", "python /usr/bin/serve"], ["42", "tensorflow_model_server", "--model_name=a1b2"]]
    assert engine_probe(container).processes() == {
        1: "python /usr/bin/serve",
        42: "tensorflow_model_server --model_name=a1b2",
    }


def test_a_zombie_is_not_listed_by_the_engine_probe() -> None:
    container = Container()
    container.rows = [["1", "python /usr/bin/serve"], ["42", "[tensorflow_mode] <defunct>"]]
    assert set(engine_probe(container).processes()) == {1}


@pytest.mark.parametrize("question", ["used_bytes", "limit_bytes", "processes"])
@pytest.mark.parametrize("error", [NotFound("No such container: c0ffee"), APIError("c0ffee is not running")], ids=str)
def test_an_error_of_the_engine_is_an_os_error(question: str, error: APIError) -> None:
    container = Container()
    container.error = error
    with pytest.raises(OSError, match="c0ffee") as refused:
        getattr(engine_probe(container), question)()
    assert refused.value is error


# Read from the kernel's files


class Machine:
    """The files of a machine, in a folder: its `/proc`, and its memory cgroups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._write("proc/self/mountinfo", f"35 31 0:32 / {root}/memory rw - cgroup cgroup rw,memory\n")
        self._write("memory/memory.limit_in_bytes", "9223372036854771712\n")

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, pid: int, *, container: str) -> Path:
        """A process in a container; its cgroup's directory."""
        self._write(f"proc/{pid}/cgroup", f"4:memory:/docker/{container}\n")
        self._write(f"proc/{pid}/mountinfo", "1 0 0:1 / /elsewhere rw - cgroup cgroup rw,memory\n")
        self._write(f"memory/docker/{container}/memory.limit_in_bytes", f"{300 * MIB}\n")
        return self.root / "memory" / "docker" / container

    def hide_cgroups(self) -> None:
        self._write("proc/self/mountinfo", "35 31 0:32 / /nowhere rw - tmpfs tmpfs rw\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(probes, "Path", made.path)
    return made


def test_a_container_on_this_machine_is_read_from_its_cgroup(machine: Machine) -> None:
    directory = machine.run(77, container=ID)
    probe = best_probe(Container(pid=77))
    assert isinstance(probe, CgroupProbe)
    assert probe.cgroup.directory == directory
    assert probe.limit_bytes() == 300 * MIB


def test_the_engine_is_asked_about_a_container_that_does_not_run(machine: Machine) -> None:
    machine.run(0, container=ID)
    assert isinstance(best_probe(Container(pid=0)), EngineProbe)


def test_a_process_with_the_same_pid_on_this_machine_is_not_taken_for_the_containers(machine: Machine) -> None:
    machine.run(77, container="decade")
    assert isinstance(best_probe(Container(pid=77)), EngineProbe)


@pytest.mark.usefixtures("machine")
def test_the_engine_is_asked_about_a_process_of_another_machine() -> None:
    assert isinstance(best_probe(Container(pid=77)), EngineProbe)


def test_the_engine_is_asked_about_a_container_with_an_invisible_cgroup(machine: Machine) -> None:
    machine.run(77, container=ID)
    machine.hide_cgroups()
    assert isinstance(best_probe(Container(pid=77)), EngineProbe)


def test_the_kernels_numbers_are_returned_unchanged(tmp_path: Path) -> None:
    (tmp_path / "memory.usage_in_bytes").write_text("1000")
    (tmp_path / "memory.stat").write_text("total_inactive_file 100\ntotal_active_file 200\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("1500")
    probe = CgroupProbe(CgroupV1(tmp_path))
    assert (probe.used_bytes(), probe.peak_bytes(), probe.kills()) == (700, 1500, 2)


@pytest.fixture
def zombie() -> Iterator[int]:
    """The pid of a process that has ended, and that nobody has waited for."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        yield ended.pid


def test_a_zombie_is_not_listed_by_the_cgroup_probe(tmp_path: Path, zombie: int) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n{zombie}\n{2**22 + 1}\n")
    processes = CgroupProbe(CgroupV2(tmp_path)).processes()
    assert {pid for pid, line in processes.items() if line} == {os.getpid()}
    assert "python" in processes[os.getpid()]


@pytest.mark.parametrize("question", ["used_bytes", "limit_bytes", "kills", "processes"])
def test_a_cgroup_that_is_gone_is_an_os_error(tmp_path: Path, question: str) -> None:
    with pytest.raises(OSError, match="gone"):
        getattr(CgroupProbe(CgroupV2(tmp_path / "gone")), question)()
