"""Judgements: functions over a timeline that raise AssertionError, and fail when they had nothing to judge."""

from pytest_mme.checks.answers import check_answers
from pytest_mme.checks.concurrency import check_concurrent, check_loads_once
from pytest_mme.checks.draining import check_drained
from pytest_mme.checks.eviction import (
    check_capacity,
    check_evictions,
    check_fifo,
    check_lfu,
    check_lru,
    check_no_thrash,
)
from pytest_mme.checks.isolation import check_isolated
from pytest_mme.checks.latency import check_fair, check_no_stall
from pytest_mme.checks.memory import check_memory_bounded
from pytest_mme.checks.recovery import check_recovers
from pytest_mme.checks.residency import check_evicted, check_resident
from pytest_mme.checks.soft import soft_checks

__all__ = [
    "check_answers",
    "check_capacity",
    "check_concurrent",
    "check_drained",
    "check_evicted",
    "check_evictions",
    "check_fair",
    "check_fifo",
    "check_isolated",
    "check_lfu",
    "check_loads_once",
    "check_lru",
    "check_memory_bounded",
    "check_no_stall",
    "check_no_thrash",
    "check_recovers",
    "check_resident",
    "soft_checks",
]
