"""Judgements: functions over a timeline that raise AssertionError, and fail when they had nothing to judge."""

from pytest_mme.checks.answers import check_answers
from pytest_mme.checks.concurrency import check_concurrent, check_loads_once
from pytest_mme.checks.eviction import (
    check_capacity,
    check_evictions,
    check_fifo,
    check_lfu,
    check_lru,
    check_no_thrash,
)
from pytest_mme.checks.residency import check_evicted, check_resident
from pytest_mme.checks.soft import soft_checks

__all__ = [
    "check_answers",
    "check_capacity",
    "check_concurrent",
    "check_evicted",
    "check_evictions",
    "check_fifo",
    "check_lfu",
    "check_loads_once",
    "check_lru",
    "check_no_thrash",
    "check_resident",
    "soft_checks",
]
