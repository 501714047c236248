"""Which loads are admitted, with a fake enforcement."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.memory import sampled_limit
from pytest_mme.serving.memory.budget import Budget, Claim, DoesNotFitError
from pytest_mme.serving.memory.enforcement import MIB, Enforcement
from pytest_mme.serving.memory.sampled_limit import SampledLimit


class FakeEnforcement(Enforcement):
    """The server and its workers hold what the test sets."""

    name = "fake"
    cheap_to_measure = False
    worker_bytes = 10 * MIB
    limit_bytes: int | None = None

    def __init__(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        self.own = 0
        self.held: dict[int, int] = {}
        self.released: list[Mapping[str, Any]] = []

    def used_bytes(self) -> int:
        return self.own + sum(self.held.values())

    def own_bytes(self) -> int:
        return self.own

    def bytes_of(self, pid: int, reserved: Mapping[str, Any]) -> int:
        return self.held.get(pid, 0)

    def release(self, reserved: Mapping[str, Any]) -> None:
        self.released.append(reserved)


class Workers:
    """A budget of so many MiB, and workers that load in it."""

    def __init__(self, limit_mib: int, **fields: Any) -> None:
        self.fake = FakeEnforcement(limit_mib * MIB)
        self.budget = Budget(ServingConfig(**fields), self.fake)

    def claim(self, pid: int, estimated_mib: int = 0, fingerprint: str = "f") -> Claim:
        self.fake.held[pid] = 5 * MIB  # a worker that has not loaded anything yet
        try:
            return self.budget.claim(pid, {}, fingerprint, estimated_mib * MIB)
        except DoesNotFitError:
            del self.fake.held[pid]
            raise

    def load(self, pid: int, holds_mib: int, estimated_mib: int = 0, fingerprint: str = "f") -> None:
        claim = self.claim(pid, estimated_mib, fingerprint)
        self.fake.held[pid] = holds_mib * MIB
        self.budget.loaded(claim)

    def load_handled(self, pid: int, holds_mib: int) -> Claim:
        """A load with user's code, which runs in the process of the next pid and holds so much."""
        claim = self.claim(pid)
        self.budget.join(claim, pid + 1, {"place": pid + 1})
        self.fake.held |= {pid: 10 * MIB, pid + 1: holds_mib * MIB}
        assert self.budget.loaded(claim) == (10 + holds_mib) * MIB
        return claim

    def end(self, pid: int) -> None:
        self.fake.held.pop(pid, None)
        self.budget.release(pid, {})


def test_the_servers_own_memory_is_not_available_to_models() -> None:
    workers = Workers(30)
    workers.fake.own = 10 * MIB
    workers.load(1, 10)
    workers.load(2, 10)
    with pytest.raises(DoesNotFitError, match=r"30 MiB are taken .* of 30 MiB"):
        workers.load(3, 10)


def test_a_load_that_fits_exactly_is_admitted() -> None:
    workers = Workers(20)
    workers.load(1, 10)
    workers.load(2, 10)
    with pytest.raises(DoesNotFitError, match=r"needs about 10 MiB; 20 MiB are taken .* of 20 MiB"):
        workers.load(3, 10)
    workers.end(1)
    workers.load(3, 10)


def test_a_model_that_has_not_grown_yet_keeps_its_claim() -> None:
    workers = Workers(20)
    workers.load(1, 7)
    workers.load(2, 7)
    with pytest.raises(DoesNotFitError, match="20 MiB are taken"):
        workers.claim(3)


def test_loads_in_progress_count_with_their_whole_claim() -> None:
    workers = Workers(100)
    workers.claim(1, estimated_mib=50)
    with pytest.raises(DoesNotFitError, match="60 MiB are taken"):
        workers.claim(2, estimated_mib=50)
    workers.end(1)
    workers.claim(2, estimated_mib=50)


def test_a_known_need_replaces_the_estimate() -> None:
    workers = Workers(20, known_bytes={"f": 4 * MIB})
    for pid in range(1, 6):
        workers.load(pid, 4)
    with pytest.raises(DoesNotFitError):
        workers.claim(6)


def test_a_model_that_held_more_than_estimated_needs_more_the_next_time() -> None:
    workers = Workers(50)
    workers.load(1, 40)
    workers.end(1)
    workers.load(1, 12, fingerprint="g")  # a worker itself was seen to need more: 40 without any estimate
    with pytest.raises(DoesNotFitError, match="needs about 40 MiB"):
        workers.claim(2)


def test_a_load_that_ran_out_of_memory_is_refused_while_nothing_has_changed() -> None:
    workers = Workers(100)
    workers.load(1, 30, fingerprint="other")
    claim = workers.claim(2)
    workers.end(2)
    workers.budget.ran_out_of_memory(claim)
    with pytest.raises(DoesNotFitError, match="needs about 70 MiB"):
        workers.claim(2)
    workers.end(1)
    workers.claim(2)


def test_running_out_of_memory_never_lowers_the_estimate() -> None:
    workers = Workers(100)
    claim = workers.claim(1, estimated_mib=80)
    workers.fake.held[2] = 5 * MIB
    other = workers.budget.claim(2, {}, "other", 0)
    workers.fake.held[2] = 95 * MIB  # it has outgrown its claim meanwhile
    workers.end(1)
    workers.budget.ran_out_of_memory(claim)
    workers.fake.held[2] = 20 * MIB
    workers.budget.loaded(other)
    with pytest.raises(DoesNotFitError, match=r"MiB; 20 MiB are taken"):
        workers.claim(1, estimated_mib=80)


def test_a_load_that_runs_out_of_memory_needs_more_than_the_others_left_it() -> None:
    workers = Workers(100)
    workers.fake.own = 20 * MIB
    workers.load(1, 30, fingerprint="other")
    claim = workers.claim(2)
    workers.fake.held[2] = 45 * MIB  # its worker is still there
    workers.budget.ran_out_of_memory(claim)
    workers.end(2)
    with pytest.raises(DoesNotFitError, match="needs about 50 MiB; 50 MiB are taken"):
        workers.claim(2)


def test_what_a_worker_holds_beyond_its_estimate_is_expected_of_every_worker() -> None:
    workers = Workers(70)
    workers.load(1, 50, estimated_mib=35)  # a worker takes 15
    with pytest.raises(DoesNotFitError, match="needs about 21 MiB; 50 MiB are taken"):
        workers.claim(2, estimated_mib=6, fingerprint="g")
    workers.claim(2, estimated_mib=5, fingerprint="g")


def test_what_users_code_holds_is_expected_of_its_own_model_only() -> None:
    workers = Workers(130)
    workers.load_handled(1, 50)
    with pytest.raises(DoesNotFitError, match=r"needs about 80 MiB; 60 MiB are taken"):
        workers.claim(3, estimated_mib=70, fingerprint="g")
    workers.claim(3, estimated_mib=50, fingerprint="g")
    workers.end(3)
    workers.fake.own = 20 * MIB
    with pytest.raises(DoesNotFitError, match=r"needs about 60 MiB; 80 MiB are taken"):
        workers.claim(4, estimated_mib=40)


def test_what_users_code_once_needed_is_remembered() -> None:
    workers = Workers(100)
    for holds_mib in (60, 5):
        workers.load_handled(1, holds_mib)
        workers.end(1)
        workers.end(2)
    workers.fake.own = 40 * MIB
    with pytest.raises(DoesNotFitError, match=r"needs about 70 MiB; 40 MiB are taken"):
        workers.claim(1)


def test_a_claim_lasts_as_long_as_one_of_its_processes() -> None:
    workers = Workers(100)
    claim = workers.load_handled(1, 50)
    workers.end(1)
    with pytest.raises(DoesNotFitError, match="50 MiB are taken"):
        workers.claim(3, estimated_mib=60, fingerprint="g")
    workers.fake.held[1] = 30 * MIB  # another process has got that pid
    assert workers.budget.loaded(claim) == 50 * MIB
    workers.end(2)
    workers.claim(3, estimated_mib=60, fingerprint="g")


def test_the_place_of_a_process_that_is_gone_is_freed() -> None:
    workers = Workers(100)
    workers.load_handled(1, 50)
    workers.budget.release(2, {"place": 2})
    workers.budget.release(7, {"place": 7})  # it had no claim yet
    assert workers.fake.released == [{"place": 2}, {"place": 7}]


def test_without_admission_every_load_is_admitted() -> None:
    workers = Workers(10, admission="none")
    for pid in range(5):
        workers.load(pid, 10)


def test_while_a_killed_worker_is_dying_no_other_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    held, killed = {1: 60, 2: 60, 3: 90}, list[int]()
    monkeypatch.setattr(sampled_limit, "private_bytes", lambda pid: held.get(pid, 0))

    async def watch() -> None:
        limit = SampledLimit(lambda: list(held), 150, killed.append)
        for _ in range(5):  # the offender takes its time to die
            await asyncio.sleep(sampled_limit._SAMPLE_EVERY_S)
        held.pop(3)
        await asyncio.sleep(sampled_limit._SAMPLE_EVERY_S)
        limit.close()

    asyncio.run(watch())
    assert killed == [3]
