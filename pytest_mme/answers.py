"""Expected predictions, compared with real ones: numbers nearly, everything else exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """By how much a number may differ from the expected one: by either of the two."""

    relative: float
    absolute: float


FLOAT32 = Tolerance(1e-5, 1e-6)  # it carries 24 bits, 6e-8; the rest is room for other kernels and other hardware
BY_DTYPE: Mapping[str, Tolerance] = MappingProxyType(
    {
        "float64": Tolerance(1e-9, 1e-12),  # 53 bits, 1e-16
        "float32": FLOAT32,
        "float16": Tolerance(1e-2, 1e-3),  # 11 bits, 5e-4
        "bfloat16": Tolerance(5e-2, 1e-2),  # 8 bits, 4e-3
    }
)
"""The tolerance of an output of each type, the narrowest first. Assumed: room for other kernels, as for float32."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The prediction that is expected of a model for one instance; it equals a prediction that is right.

    ``Answer == prediction`` and ``prediction == Answer`` hold when *prediction* is ``{"identity": …, "y": …}`` with
    the same identity, and a `y` that is *value* but for the tolerance of its numbers; or, for a model that the kit did
    not build (*whole*), when the prediction itself is. Floats differ from it by at most the tolerance, 1e-5 relatively
    or 1e-6 absolutely for the kit's models; NaN equals NaN, whole numbers and all else are the same. Answers are not
    hashable: nearly equal values cannot have equal hashes.
    """

    identity: str
    """The model, version and signature that must predict, for example ``"model-0/1#3f9ac1b2"``; its name, where *whole*."""
    value: Any
    """The expected ``y``: a number, a string, or lists of them, in the shape of one instance. Any JSON, where *whole*."""
    whole: bool = False
    """Whether *value* is the whole prediction."""
    tolerance: Tolerance = FLOAT32
    """Of the numbers in *value*."""
    outputs: Mapping[str, Tolerance] = dataclasses.field(default_factory=dict)
    """Of the numbers below these keys of *value*, instead: the outputs of a model that has several."""

    __array_ufunc__ = None  # otherwise numpy compares element by element

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answer):
            return (self.identity, self.whole) == (other.identity, other.whole) and self._is(other.value)
        if self.whole:
            return self._is(other)
        if not isinstance(other, Mapping) or set(other) != {"identity", "y"}:
            return False
        return bool(other["identity"] == self.identity) and self._is(other["y"])

    def _is(self, seen: Any) -> bool:
        if self.outputs and isinstance(self.value, Mapping) and isinstance(seen, Mapping):
            return self.value.keys() == seen.keys() and all(
                alike(value, seen[name], self.outputs.get(name, self.tolerance)) for name, value in self.value.items()
            )
        return alike(self.value, seen, self.tolerance)

    def __repr__(self) -> str:
        return f"Answer({self})"

    def __str__(self) -> str:
        return repr(self.value if self.whole else {"identity": self.identity, "y": self.value})

    def to_record(self) -> dict[str, Any]:
        """The answer as the detail of an event has it, in JSON's types: `recorded` reads it."""
        record = {"identity": self.identity, "value": self.value}
        if not self.whole:
            return record
        outputs = {name: list(dataclasses.astuple(one)) for name, one in self.outputs.items()}
        return {**record, "whole": True, "tolerance": list(dataclasses.astuple(self.tolerance)), "outputs": outputs}


def recorded(expected: Mapping[str, Any]) -> Answer:
    """The expected prediction that an event has in its detail as `expected`, which `Answer.to_record` made."""
    if not expected.get("whole"):
        return Answer(**expected)
    outputs = {name: Tolerance(*one) for name, one in expected["outputs"].items()}
    return Answer(**{**expected, "tolerance": Tolerance(*expected["tolerance"]), "outputs": outputs})


def alike(expected: Any, seen: Any, tolerance: Tolerance = FLOAT32) -> bool:
    """Whether two JSON values are equal but for the tolerance of their floats; arrays count as lists."""
    expected, seen = _plain(expected), _plain(seen)
    if _is_number(expected) and _is_number(seen):
        return _close(expected, seen, tolerance)
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        return expected.keys() == seen.keys() and all(alike(expected[key], seen[key], tolerance) for key in expected)
    if _is_list(expected) and _is_list(seen):
        return len(expected) == len(seen) and all(
            alike(one, other, tolerance) for one, other in zip(expected, seen, strict=True)
        )
    return type(expected) is type(seen) and bool(expected == seen)


def _close(expected: float, seen: float, tolerance: Tolerance) -> bool:
    if isinstance(expected, int) and isinstance(seen, int):
        return expected == seen
    if math.isnan(expected) or math.isnan(seen):
        return math.isnan(expected) and math.isnan(seen)
    return math.isclose(expected, seen, rel_tol=tolerance.relative, abs_tol=tolerance.absolute)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
