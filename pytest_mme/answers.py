"""Expected predictions, compared with real ones: numbers nearly, everything else exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

RELATIVE_TOLERANCE = 1e-5  # float32 carries 24 bits, 6e-8; the rest is room for other kernels and other hardware
ABSOLUTE_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The prediction that is expected of a model for one instance; it equals a prediction that is right.

    ``Answer == prediction`` and ``prediction == Answer`` hold when *prediction* is ``{"identity": …, "y": …}`` with
    the same identity, and numbers that differ from *value* by at most 1e-5 relatively or 1e-6 absolutely (NaN equals
    NaN). Answers are not hashable: nearly equal values cannot have equal hashes.
    """

    identity: str
    """The model, version and signature that must predict, for example ``"model-0/1#3f9ac1b2"``."""
    value: Any
    """The expected ``y``: a number, a string, or lists of them, in the shape of one instance."""

    __array_ufunc__ = None  # otherwise numpy compares element by element

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answer):
            return self.identity == other.identity and alike(self.value, other.value)
        if not isinstance(other, Mapping) or set(other) != {"identity", "y"}:
            return False
        return bool(other["identity"] == self.identity) and alike(self.value, other["y"])

    def __repr__(self) -> str:
        return f"Answer({{'identity': {self.identity!r}, 'y': {self.value!r}}})"


def recorded(expected: Mapping[str, Any]) -> Answer:
    """The expected prediction that an event has in its detail as `expected`."""
    return Answer(**expected)


def alike(expected: Any, seen: Any) -> bool:
    """Whether two JSON values are equal but for the tolerance of their numbers; arrays count as lists."""
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
