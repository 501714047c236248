"""Where the commands write to, and how they show errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console

from pytest_mme.errors import MMEError

console = Console(highlight=False)


def show_line(text: str) -> None:
    """Print a line as it is, however wide."""
    console.print(text, markup=False, soft_wrap=True)


def show_error(error: Exception) -> None:
    """Print an error's message, in red."""
    console.print(str(error), style="red", markup=False, soft_wrap=True)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Let an error of the kit end the command with its message and exit status 1."""
    try:
        yield
    except MMEError as error:
        show_error(error)
        raise typer.Exit(1) from error


@contextlib.contextmanager
def checked(option: str) -> Iterator[None]:
    """Let a ValueError end the command as a bad value of *option*, which may be an argument, too."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
