"""How the workers' memory is kept within its limit, and how it is measured, without any worker."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import platformdirs
import pytest

from pytest_mme.errors import UnavailableError
from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import allocator, cgroup_limits, cgroups, limits, private_memory, sampled_limit
from pytest_mme.serving.memory.allocator import AllocatorBudget
from pytest_mme.serving.memory.cgroup_limits import CgroupLimit, ContainerLimit
from pytest_mme.serving.memory.cgroups import CgroupV1, CgroupV2
from pytest_mme.serving.memory.sampled_limit import NoLimit, SampledLimit

# Which one it is


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What can be made; each is its own name."""
    possible = ["allocator", "container", "cgroup", "none", "sampled"]

    def make(name: str) -> Callable[..., str]:
        def made_or_not(*_: object) -> str:
            if name not in possible:
                raise OSError(f"no {name} here")
            return name

        return made_or_not

    monkeypatch.setattr(limits, "AllocatorBudget", make("allocator"))
    monkeypatch.setattr(limits, "ContainerLimit", make("container"))
    monkeypatch.setattr(limits, "CgroupLimit", SimpleNamespace(create=make("cgroup")))
    monkeypatch.setattr(limits, "NoLimit", make("none"))
    monkeypatch.setattr(limits, "SampledLimit", make("sampled"))
    monkeypatch.setattr(cgroups, "own", lambda: None)
    return possible


@pytest.mark.parametrize("memory_bytes", [None, 7])
@pytest.mark.parametrize("oom", ["kernel", "tensorflow"])
@pytest.mark.parametrize(
    ("enforcement", "chosen", "otherwise"),
    [("auto", "cgroup", "sampled"), ("cgroup", "cgroup", None), ("sampled",) * 3, ("container",) * 3],
)
def test_the_enforcement_is_as_asked_or_what_can_be_had(
    made: list[str], memory_bytes: int | None, oom: Any, enforcement: Any, chosen: str, otherwise: str | None
) -> None:
    config = ServingConfig(memory_bytes=memory_bytes, oom=oom, enforcement=enforcement)

    def enforced() -> Any:
        return limits.enforce(config, list, lambda _: None)

    def expected(name: str) -> str:
        if memory_bytes is not None and oom == "tensorflow":
            return "allocator"
        return "none" if memory_bytes is None and name == "sampled" else name

    assert enforced() == expected(chosen)
    made.remove("cgroup")
    if otherwise is not None or expected(chosen) == "allocator":
        assert enforced() == expected(otherwise or chosen)
    else:
        with pytest.raises(OSError, match="no cgroup here"):
            enforced()


# Private memory


@pytest.mark.parametrize(
    ("table", "found"),
    [("Rss: 9 kB\nPrivate_Clean: 3 kB\nPrivate_Dirty:      1234 kB\nSwap: 0 kB\n", 1234 * 1024), ("Rss: 9 kB\n", 0)],
)
def test_private_memory_is_what_only_this_process_has_written(
    monkeypatch: pytest.MonkeyPatch, table: str, found: int
) -> None:
    read: list[str] = []

    def read_text(path: Path) -> str:
        read.append(str(path))
        return table

    monkeypatch.setattr(Path, "read_text", read_text)
    assert private_memory.private_bytes(7) == found
    assert read == ["/proc/7/smaps_rollup"]


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert private_memory.private_bytes(os.getpid()) > 0
    assert private_memory.private_bytes(2**22 + 1) == 0


# Sampled


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """What processes hold, by pid."""
    memory: dict[int, int] = {}
    for module in (sampled_limit, cgroup_limits):
        monkeypatch.setattr(module, "private_bytes", lambda pid: memory.get(pid, 0))
    return memory


def test_without_a_limit_memory_is_measured_all_the_same(held: dict[int, int]) -> None:
    held.update({1: 60, 2: 5})
    limit = NoLimit(lambda: list(held))
    assert limit.measured() == {"used_bytes": 65, "limit_bytes": None}
    assert not limit.cheap_to_measure
    assert (limit.own_bytes(), limit.kills(), limit.reserve(), limit.worker_bytes) == (0, 0, {}, 16 << 20)


@pytest.mark.parametrize(
    ("samples", "killed"),
    [
        ([{1: 100, 2: 50}], []),  # no more than the limit
        ([{1: 100, 2: 51}], [1]),  # the one that grew most, from nothing
        ([{1: 90, 2: 50}, {1: 91, 2: 60}], [2]),
        ([{1: 140}, {1: 140, 2: 11}], [2]),
        ([{1: 200}, {1: 200, 2: 100}, {1: 200, 2: 151}], [1, 2]),  # those that are dying count no more
        ([{1: 200}, {2: 100}, {1: 140, 2: 20}], [1, 1]),  # another process has got its pid
    ],
)
def test_the_process_that_grew_most_is_killed_when_all_hold_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, held: dict[int, int], samples: list[dict[int, int]], killed: list[int]
) -> None:
    left = iter([*samples[1:], None])
    over = asyncio.Event()
    seen: list[int] = []

    async def next_sample(_: float) -> None:
        if (sample := next(left)) is None:
            over.set()
            await asyncio.Event().wait()
        else:
            held.clear()
            held.update(sample)

    monkeypatch.setattr(sampled_limit, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": next_sample}))
    held.update(samples[0])

    async def watch() -> None:
        limit = SampledLimit(lambda: list(held), 150, seen.append)
        await asyncio.wait_for(over.wait(), 10)
        assert limit.kills() == len(killed)
        assert limit.measured() == {
            "used_bytes": sum(samples[-1].values()),
            "limit_bytes": 150,
            "peak_bytes": max(sum(sample.values()) for sample in samples),
        }
        limit.close()
        await asyncio.wait([limit._task])
        assert limit._task.cancelled()

    asyncio.run(watch())
    assert seen == killed


# The kernel's


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupV2:
    """The cgroup that can be made here."""
    made = CgroupV2(tmp_path / "kit")
    made.directory.mkdir()
    for name, text in {
        "memory.current": "1000",
        "memory.stat": "inactive_file 100\nactive_file 200\n",
        "memory.max": "max\n",
        "memory.events": "oom_kill 2\n",
        "memory.peak": "1500",
    }.items():
        (made.directory / name).write_text(text)

    def create(name: str, *, before_creation: Callable[[Path], None]) -> CgroupV2:
        assert name == "mine"
        before_creation(made.directory)
        return made

    monkeypatch.setattr(cgroups, "create", create)
    return made


@pytest.mark.parametrize("memory_bytes", [None, 5000])
def test_a_cgroup_has_its_limit_and_is_written_down_before_it_is_made(
    cgroup: CgroupV2, tmp_path: Path, memory_bytes: int | None
) -> None:
    record = tmp_path / "record"
    record.write_text("another\n")
    limit = CgroupLimit.create(ServingConfig(cgroup_name="mine", memory_bytes=memory_bytes, cgroup_record=str(record)))
    assert record.read_text() == f"another\n{cgroup.directory}\n"
    assert (limit.name, limit.cgroup_directory) == ("memory cgroup v2", cgroup.directory)
    assert limit.measured() == {"used_bytes": 700, "limit_bytes": memory_bytes, "peak_bytes": 1500}
    assert (limit.kills(), limit.own_bytes(), limit.cheap_to_measure) == (2, 0, True)
    assert limit.reserve() == {"cgroup_procs": f"{cgroup.directory}/cgroup.procs"}


def test_a_cgroup_that_takes_no_limit_is_removed(cgroup: CgroupV2, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Path] = []

    def refuse(limit_bytes: int) -> None:
        raise OSError(f"not {limit_bytes}")

    monkeypatch.setattr(cgroup, "limit", refuse)
    monkeypatch.setattr(cgroups, "remove", removed.append)
    with pytest.raises(OSError, match="not 5000"):
        CgroupLimit.create(ServingConfig(cgroup_name="mine", memory_bytes=5000))
    assert removed == [cgroup.directory]


@pytest.mark.parametrize(("goes", "warnings"), [(True, 0), (False, 1)])
def test_a_cgroup_is_removed_at_the_end_or_the_log_says_so(
    cgroup: CgroupV2, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, goes: bool, warnings: int
) -> None:
    monkeypatch.setattr(cgroups, "remove", lambda _: goes)
    with caplog.at_level(logging.WARNING, "pytest_mme"):
        CgroupLimit.create(ServingConfig(cgroup_name="mine")).close()
    assert len(caplog.messages) == warnings
    assert all(f"{cgroup.directory} could not be removed" in message for message in caplog.messages)


def test_a_container_counts_the_server_itself(cgroup: CgroupV2, held: dict[int, int]) -> None:
    held.update({1: 100, 2: 150})
    limit = ContainerLimit(lambda: list(held), cgroup)
    assert (limit.name, limit.used_bytes(), limit.own_bytes()) == ("the container's memory cgroup v2", 700, 450)
    assert limit.reserve() == {"oom_score_adj": 1000}
    held[2] = 10_000  # what was measured a moment later
    assert limit.own_bytes() == 0


def test_version_1_has_its_own_files(tmp_path: Path) -> None:
    for name, text in {
        "usage_in_bytes": "1000\n",
        "stat": "total_inactive_file 100\ntotal_active_file 200\ninactive_file 1\n",
        "limit_in_bytes": f"{2**60 - 1}\n",
        "oom_control": "oom_kill_disable 0\noom_kill 2\n",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text)
    cgroup = CgroupV1(tmp_path)
    assert (cgroup.used_bytes(), cgroup.limit_bytes(), cgroup.kills()) == (700, 2**60 - 1, 2)
    (tmp_path / "memory.limit_in_bytes").write_text(str(2**60))
    assert cgroup.limit_bytes() is None


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize(("before", "order"), [(2000, ["limit", "memsw.limit"]), (1000, ["memsw.limit", "limit"])])
def test_memory_never_may_exceed_memory_and_swap_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: bool, before: int, order: list[str]
) -> None:
    for name in ("limit", *(["memsw.limit"] if swap else [])):
        (tmp_path / f"memory.{name}_in_bytes").write_text(str(before))
    written: list[str] = []
    write = Path.write_text

    def noted(path: Path, text: str) -> int:
        written.append(path.name)
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", noted)
    CgroupV1(tmp_path).limit(1000 if before == 2000 else 1500)
    assert written == [f"memory.{name}_in_bytes" for name in order if swap or name == "limit"]


@pytest.mark.parametrize(("name", "version"), [("memory.limit_in_bytes", 1), ("memory.max", 2), ("x", 2)])
def test_the_version_of_a_cgroup_shows_by_its_files(tmp_path: Path, name: str, version: int) -> None:
    (tmp_path / name).touch()
    assert (cgroups.at(tmp_path).version, cgroups.at(tmp_path).directory) == (version, tmp_path)


def test_a_process_is_let_in_where_its_number_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    assert cgroups._lets_in(tmp_path)
    assert int((tmp_path / "cgroup.procs").read_text()) > 0
    assert not cgroups._lets_in(tmp_path / "absent")


# TensorFlow's own allocator


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[AllocatorBudget]:
    """A budget of 1000 bytes, without a library that counts."""
    monkeypatch.setattr(allocator, "compiled", lambda: Path("/lib.so"))
    made = AllocatorBudget(1000)
    yield made
    made.close()


def count(budget: AllocatorBudget, refused: int, **workers: int) -> None:
    """Count as the library does, in C's memory: limit, refusals, then each worker's bytes."""
    budget._ledger[8:16] = struct.pack("=q", refused)
    for slot, size in workers.items():
        start = 16 + 8 * int(slot[1:])
        budget._ledger[start : start + 8] = struct.pack("=q", size)


def test_the_ledger_is_as_the_library_has_it(budget: AllocatorBudget) -> None:
    assert struct.unpack("=qq", budget._ledger[:16]) == (1000, 0)
    assert len(budget._ledger) == 8 * (2 + 1024)
    count(budget, 3, s0=10, s1=20, s1023=40)
    assert (budget.refusals(), budget.used_bytes(), budget.limit_bytes) == (3, 70, 1000)
    assert [budget.bytes_of(0, {"allocator_slot": slot}) for slot in (0, 1, 2, 1023)] == [10, 20, 0, 40]
    assert (budget.name, budget.cheap_to_measure, budget.worker_bytes) == ("allocator budget", True, 1 << 20)
    (descriptor,) = budget.descriptors
    assert budget.environment == {
        "LD_PRELOAD": "/lib.so",
        "MME_ALLOCATOR_FD": str(descriptor),
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }


def test_a_slot_is_cleared_when_its_worker_is_gone(budget: AllocatorBudget) -> None:
    slots = [budget.reserve() for _ in range(1024)]
    assert len({one["allocator_slot"] for one in slots}) == 1024
    with pytest.raises(OSError, match="room for 1024 workers"):
        budget.reserve()
    much = 0x0101010101010101
    count(budget, 0, s6=much, s7=much, s8=much)
    budget.release({})
    budget.release({"allocator_slot": 7})
    assert [budget.bytes_of(0, {"allocator_slot": slot}) for slot in (6, 7, 8)] == [much, 0, much]
    assert budget.reserve() == {"allocator_slot": 7}


def test_the_memory_of_a_budget_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "compiled", lambda: Path("/lib.so"))
    made = AllocatorBudget(1000)
    made.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made.descriptors[0])


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A compiler that notes what it is called with; there may be others, or none."""
    played = SimpleNamespace(names=["cc", "gcc", "clang"], calls=[], error=b"")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in played.names else None)

    def run(command: list[str], *, input: bytes, capture_output: bool, check: bool) -> Any:  # noqa: A002  its name
        assert (b"#include" in input, capture_output, check) == (True, True, False)
        played.calls.append(command[0])
        if not played.error:
            Path(command[-1]).write_text("compiled")
        return subprocess.CompletedProcess(command, 1 if played.error else 0, b"", played.error)

    monkeypatch.setattr(subprocess, "run", run)
    return played


@pytest.mark.parametrize("name", ["cc", "gcc", "clang"])
def test_the_library_is_compiled_once_by_whichever_compiler_there_is(compiler: Any, tmp_path: Path, name: str) -> None:
    compiler.names[:] = [name]
    library = allocator.compiled()
    assert library.read_text() == "compiled"
    assert (library.parent, len(library.stem)) == (tmp_path / "pytest-mme" / "allocator", 16)
    assert allocator.compiled() == library
    assert compiler.calls == [f"/bin/{name}"]
    assert list(library.parent.iterdir()) == [library]


@pytest.mark.parametrize(
    ("names", "error", "seen"),
    [([], b"", "no C compiler was found on the PATH"), (["cc"], b"no stdio.h\n", "no stdio.h")],
)
def test_a_library_that_cannot_be_compiled_is_unavailable(
    compiler: Any, names: list[str], error: bytes, seen: str
) -> None:
    compiler.names[:], compiler.error = names, error
    with pytest.raises(UnavailableError, match='oom="tensorflow" cannot be had') as unavailable:
        allocator.compiled()
    assert unavailable.value.seen == seen
