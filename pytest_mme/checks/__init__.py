"""Judgements: functions over a timeline that raise AssertionError, and fail when they had nothing to judge."""

from pytest_mme.checks.answers import check_answers
from pytest_mme.checks.residency import check_evicted, check_resident

__all__ = ["check_answers", "check_evicted", "check_resident"]
