"""Which clauses a server that is wrong on purpose breaks."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.contract.lawful import Lawful

WRONG: dict[type[Lawful], set[str]] = {}


def breaks(*clauses: str) -> Callable[[type[Lawful]], type[Lawful]]:
    """Mark a server that deviates from these clauses, and from no others."""

    def note(server: type[Lawful]) -> type[Lawful]:
        WRONG[server] = set(clauses)
        return server

    return note
