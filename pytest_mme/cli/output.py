"""Where the command line writes to, and what it says of what went wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console

from pytest_mme.errors import MMEError

console = Console(highlight=False)


def show_line(text: str) -> None:
    """A line as it is, however wide."""
    console.print(text, markup=False, soft_wrap=True)


def show_error(error: Exception) -> None:
    """What an error says, in red."""
    console.print(str(error), style="red", markup=False, soft_wrap=True)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """An error of the kit ends the command with its words and exit status 1."""
    try:
        yield
    except MMEError as error:
        show_error(error)
        raise typer.Exit(1) from error


@contextlib.contextmanager
def checked(option: str) -> Iterator[None]:
    """A ValueError is what is wrong with that option, or argument."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
