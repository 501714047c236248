"""What a prediction must be, compared the way predictions deserve: numbers nearly, everything else exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

RELATIVE_TOLERANCE = 1e-5  # float32 carries 24 bits, 6e-8; the rest is room for other kernels and other hardware
ABSOLUTE_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The known answer of one model to one instance, equal to the prediction that says the same.

    ``Answer == prediction`` and ``prediction == Answer`` hold when *prediction* is ``{"identity": …, "y": …}`` with
    this very identity and numbers within 1e-5 of *value* (NaN equals NaN). Answers are not hashable: nearly equal
    values cannot hash alike.
    """

    identity: str
    """Which model, version and signature answered, for example ``"model-0/1#3f9ac1b2"``."""
    value: Any
    """What ``y`` must be: numbers, strings, or lists of them."""

    __array_ufunc__ = None  # numpy compares element by element unless it is told to stay out of it

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answer):
            return self.identity == other.identity and alike(self.value, other.value)
        if not isinstance(other, Mapping) or set(other) != {"identity", "y"}:
            return False
        return bool(other["identity"] == self.identity) and alike(self.value, other["y"])

    def __repr__(self) -> str:
        return f"Answer({{'identity': {self.identity!r}, 'y': {self.value!r}}})"


def alike(expected: Any, seen: Any) -> bool:
    """Whether two JSON values (arrays count as lists) differ by no more than the tolerance of their numbers."""
    expected, seen = _plain(expected), _plain(seen)
    if _is_number(expected) and _is_number(seen):
        return _close(expected, seen)
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        return expected.keys() == seen.keys() and all(alike(expected[key], seen[key]) for key in expected)
    if _is_list(expected) and _is_list(seen):
        return len(expected) == len(seen) and all(map(alike, expected, seen))
    return type(expected) is type(seen) and bool(expected == seen)


def _close(expected: float, seen: float) -> bool:
    if math.isnan(expected) or math.isnan(seen):
        return math.isnan(expected) and math.isnan(seen)
    return math.isclose(expected, seen, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
