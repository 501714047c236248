"""What a test has measured, for whoever asks: `pytest -rP` shows it, and so does a JUnit report."""

from __future__ import annotations

from collections.abc import Callable

RecordProperty = Callable[[str, object], None]


def show(record_property: RecordProperty, **figures: object) -> None:
    """Say *figures* by their names."""
    for name, figure in figures.items():
        record_property(name, figure)
        print(f"{name.replace('_', ' ')}: {figure}")  # noqa: T201
