"""How versions of TensorFlow are asked for: ``2.15.1``, ``2.15``, ``installed``, ``latest``."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator

from pytest_mme.errors import UnavailableError

OLDEST = (2, 5)
"""The oldest that the binding can run. 2.4 and before need a function that Python 3.9 has dropped (measured)."""
INSTALLED, LATEST = "installed", "latest"
DEFAULT = "2.21.0"
"""What serves where no TensorFlow is installed and nobody names a version: the newest whose operations the kit knows.

Fixed, so that a run needs the package index once and not each time, and a release of the kit always tests the same.
"""
BY_DEFAULT = f"the installed one, or else {DEFAULT}"
"""What serves where nobody names a version, in the words of the options' descriptions."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+(?:\.post\d+|rc\d+|\.dev\d+)?(?:\+[\w.]+)?)?")
_WHEELS = ("tensorflow", "tensorflow-cpu")


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
    if importlib.util.find_spec("tensorflow") is not None:
        for wheel in _distributions():
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(wheel)
    raise UnavailableError(
        "the installed TensorFlow",
        "TensorFlow's Python package is not installed",
        "pip install 'pytest-mme[tensorflow]', or name a version, as in 2.15.1: it is fetched",
    )


def _distributions() -> Iterator[str]:
    """What the package `tensorflow` may be called in the index."""
    yield from _WHEELS
    yield from importlib.metadata.packages_distributions().get("tensorflow", ())  # it reads every package's metadata


def default() -> str:
    """The version that serves where nobody names one: the installed one, or `DEFAULT`."""
    try:
        return installed()
    except UnavailableError:
        return DEFAULT
