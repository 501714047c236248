"""How far the fetching of TensorFlow versions is, on pytest's terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_mme.libtensorflow.toolchain import Toolchain


def fetch_all(toolchain: Toolchain, versions: Iterable[str | None], terminal: Any) -> None:
    """Fetch those that are not here; raises `UnavailableError`. *terminal*: pytest's reporter, or None."""
    shown = set[str]()

    def tell(version: str, share: float) -> None:
        if terminal is None:
            return
        if terminal.isatty:
            terminal.rewrite(f"mme: fetching TensorFlow {version}, {share:.0%}", erase=True)
        elif version not in shown:
            terminal.write_line(f"mme: fetching TensorFlow {version}")
        shown.add(version)

    for version in versions:
        toolchain.directory(version, tell)
    if terminal is not None and terminal.isatty and shown:
        terminal.rewrite("", erase=True)
