"""What each TensorFlow release does with each forgery, as `tools/make_versions.py` has measured it."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib.resources import files
from typing import Literal

Outcome = Literal["answers", "differs", "not loaded", "not answered"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one release did with one model, on the embedded server and a CPU."""

    outcome: Outcome
    """``differs``: it predicts, but not what is expected."""
    status: int | None = None
    """The HTTP status of the load or of the first request; None where both succeeded."""
    words: str = ""
    """How the server's message begins, with TensorFlow's code; what changes from run to run is left out."""


def verdict(forgery: str, version: str) -> Verdict | None:
    """Return what a release does with a forgery; None where that was not measured.

    For a patch release that was not measured, the last of the same minor version counts.
    """
    data = _data()
    minor = version.split(".")[:2]
    measured = (by for by in data if by.split(".")[:2] == minor)
    return next((data[by][forgery] for by in measured if forgery in data[by]), None)


def releases() -> list[str]:
    """Return the releases that were measured, the oldest first."""
    return list(_data())


@functools.cache
def _data() -> dict[str, dict[str, Verdict]]:
    read = json.loads(files(__package__).joinpath("verdicts.json").read_text())
    return {by: {name: Verdict(**fields) for name, fields in verdicts.items()} for by, verdicts in read.items()}
