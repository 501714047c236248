"""Where the command line writes to."""

from __future__ import annotations

from rich.console import Console

console = Console(highlight=False)


def show_line(text: str) -> None:
    """A line as it is, however wide."""
    console.print(text, markup=False, soft_wrap=True)
