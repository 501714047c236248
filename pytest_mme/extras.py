"""What only some commands and options need, named when it is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_mme.errors import UnavailableError


@contextlib.contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Import in the block what the *extra* of this package brings for *what*.

    Raises `UnavailableError`, with the line that installs it, where it is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        seen, advice = f"the package {package} is not installed", f"pip install 'pytest-mme[{extra}]'"
        raise UnavailableError(what, seen, advice) from error
