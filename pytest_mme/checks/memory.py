"""Memory in use over rounds of loads and unloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import by_server, moves

_MIB = 1 << 20
_ROOM = 0.05
_ROOM_BYTES = 2 * _MIB


@fails_at_the_call
def check_memory_bounded(events: Iterable[Event], *, cycles: int, soft: bool = False) -> None:
    """Fail if the high-water mark of memory rises over at least *cycles* rounds, each of which ends with an unload.

    The highest of the later half of the rounds may be 5 % and 2 MiB above that of the earlier half. How much an unload
    frees is not judged: a server that holds all models in one process frees little. Raises ValueError below 2 rounds.
    """
    if cycles < 2:
        raise ValueError(f"cycles={cycles}: give 2 or more")
    with softly(soft):
        rounds = sorted((_marks(server) for server in by_server(events)), key=len)
        judged = [marks for marks in rounds if len(marks) >= cycles]
        if not judged:
            most = len(rounds[-1]) if rounds else 0
            raise AssertionError(f"{most} rounds with a measurement and an unload were recorded, not {cycles}")
        for marks in judged:
            half = len(marks) // 2
            earlier, later = max(marks[:half]), max(marks[half:])
            if later > earlier * (1 + _ROOM) + _ROOM_BYTES:
                rise = f"from {earlier / _MIB:.1f} to {later / _MIB:.1f} MiB"
                shown = ", ".join(f"{mark / _MIB:.1f}" for mark in marks)
                raise AssertionError(f"memory rises over {len(marks)} rounds, {rise}: {shown}")


def _marks(events: Sequence[Event]) -> list[int]:
    """The highest use of memory in each round, in bytes; without a new sample, that of the sample before it."""
    ends = {id(unload) for unload in moves(events, "unload") if unload.outcome == "ok"}
    last, most, marks = None, None, list[int]()
    for event in sorted(events, key=lambda event: event.at_s):
        if event.kind == "sample" and "used_bytes" in event.detail:
            last = event.detail["used_bytes"]
            most = last if most is None else max(most, last)
        elif id(event) in ends and most is not None:
            marks.append(most)
            most = last
    return marks
