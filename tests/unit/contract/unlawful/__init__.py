"""Servers that are wrong on purpose: each breaks one thing, and says which clauses must deviate for it."""

from tests.unit.contract.unlawful import invoking, loading, looking
from tests.unit.contract.unlawful.breaking import WRONG

__all__ = ["WRONG", "invoking", "loading", "looking"]
