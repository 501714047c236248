"""How versions of TensorFlow are asked for: ``2.15.1``, ``2.15``, ``installed``, ``latest``."""

from __future__ import annotations

import importlib.metadata
import re

from pytest_mme.errors import UnavailableError

OLDEST = (2, 5)
"""The oldest that the binding can run. 2.4 and before need a function that Python 3.9 has dropped (measured)."""
INSTALLED, LATEST = "installed", "latest"

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+(?:\.post\d+|rc\d+)?)?")


def check(asked: object) -> str:
    """Return *asked* if it can be a version of TensorFlow; raises ValueError if not."""
    if asked in (INSTALLED, LATEST):
        return str(asked)
    found = _VERSION.fullmatch(asked) if isinstance(asked, str) else None
    if found is None:
        raise ValueError(f"{asked!r} is not a version: give one as in 2.15.1 or 2.15, or {INSTALLED}, or {LATEST}")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise ValueError(f"{asked!r} is too old: {'.'.join(map(str, OLDEST))} is the oldest that can be run")
    return found[0]


def is_exact(asked: str) -> bool:
    """Whether *asked* names one release, as ``2.15.1`` does."""
    return asked.count(".") >= 2


def minor(version: str) -> str:
    """Return the minor release of a version: ``2.15`` for ``2.15.1``."""
    return ".".join(version.split(".")[:2])


def installed() -> str:
    """Return the version of the installed TensorFlow, whichever wheel it came in; raises `UnavailableError`."""
    for wheel in ("tensorflow", "tensorflow-cpu"):
        try:
            return importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise UnavailableError(
        "the installed TensorFlow's version", "TensorFlow is not installed", "say which: --mme-tf or --tf VERSION"
    )
