"""Which values the fields of a specification take: stated once, beside each field, for its error and its documentation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_mme import versions
from pytest_mme.errors import shown

Metadata = Mapping[str, "Rule"]
"""What `dataclasses.field(metadata=…)` takes."""
_RULE = "rule"


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values a field takes besides None, which it takes where None is the default."""

    takes: str
    """Describes the values, as in ``seconds, 0 to 360``."""
    allows: Callable[[Any], bool]
    verb: str = "give"
    """What comes before *takes* in the error."""


def refusal(name: str, seen: object, takes: str, verb: str = "give") -> ValueError:
    """The error of the field *name*, which does not take the value that was *seen*."""
    return ValueError(f"{name}={shown(seen)}: {verb} {takes}")


def rule(takes: str, allows: Callable[[Any], bool], *, verb: str = "give") -> Metadata:
    """The metadata of a field that takes what *allows* returns true for."""
    return {_RULE: Rule(takes, allows, verb)}


def one_of(*choices: str | None) -> Metadata:
    """The metadata of a field that takes one of *choices*."""
    return rule(" or ".join(map(repr, choices)), lambda seen: isinstance(seen, str) and seen in choices, verb="choose")


def number(takes: str, least: float, most: float) -> Metadata:
    """The metadata of a field that takes a number from *least* to *most*, both included."""
    return rule(takes, lambda seen: _is_number(seen, int | float) and least <= seen <= most)


def whole(takes: str, least: int, most: int) -> Metadata:
    """The metadata of a field that takes a whole number from *least* to *most*, both included."""
    return rule(f"a whole number, {takes}", lambda seen: _is_number(seen, int) and least <= seen <= most)


def _is_number(seen: object, kind: Any) -> bool:
    return isinstance(seen, kind) and not isinstance(seen, bool)


def text(takes: str, pattern: str, *, verb: str = "give") -> Metadata:
    """The metadata of a field that takes a text which matches the regular expression *pattern* as a whole."""
    return rule(takes, lambda seen: isinstance(seen, str) and re.fullmatch(pattern, seen) is not None, verb=verb)


def tensorflow_version() -> Metadata:
    """The metadata of a field that takes a version of TensorFlow, as `versions.check` does."""

    def allows(seen: Any) -> bool:
        try:
            return bool(versions.check(seen))
        except ValueError:
            return False

    return rule("a version of TensorFlow such as '2.15.1' or '2.15', or 'installed' or 'latest'", allows)


def rule_of(field: dataclasses.Field[Any]) -> Rule | None:
    """The rule of a field of a specification; None for one that the specification checks by itself."""
    return field.metadata.get(_RULE)


def check(specification: Any) -> None:
    """Raise ValueError for the first field with a value that its rule does not allow.

    The error names the field, what was seen and what the field takes.
    """
    for field in dataclasses.fields(specification):
        seen, its_rule = getattr(specification, field.name), rule_of(field)
        if its_rule and not (seen is None and field.default is None) and not its_rule.allows(seen):
            raise refusal(field.name, seen, its_rule.takes, its_rule.verb)
