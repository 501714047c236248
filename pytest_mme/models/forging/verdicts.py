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
    """What came of one model on one release, on the embedded server and a CPU."""

    outcome: Outcome
    """``differs``: it answers, and not what it should."""
    status: int | None = None
    """The HTTP status of the load or of the first request; None where both were good."""
    words: str = ""
    """How the server's words begin, with TensorFlow's code; what changes from run to run is left out."""


def verdict(forgery: str, version: str) -> Verdict | None:
    """What a release does with a forgery; None where that was not measured. A version counts as its minor's last."""
    data = _data()
    minor = version.split(".")[:2]
    measured = (by for by in data if by.split(".")[:2] == minor)
    return next((data[by][forgery] for by in measured if forgery in data[by]), None)


def releases() -> list[str]:
    """Those that were measured, the oldest first."""
    return list(_data())


@functools.cache
def _data() -> dict[str, dict[str, Verdict]]:
    read = json.loads(files(__package__).joinpath("verdicts.json").read_text())
    return {by: {name: Verdict(**said) for name, said in verdicts.items()} for by, verdicts in read.items()}
