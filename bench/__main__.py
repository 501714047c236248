"""`python -m bench`: the table of claims. `python -m bench NAME`: one part of it, or a table of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from bench import (
    claims,
    evidence,
    http_fronts,
    images,
    invoking,
    loading,
    output,
    rest_bodies,
    through_boto3,
    unused_plugin,
)
from bench import versions as tensorflow_versions
from bench.claims import Row
from bench.facts import Machine
from bench.rig import Rig, Say, rigged

PARTS: Mapping[str, Callable[[Rig], Sequence[Row]]] = {
    "start": loading.start,
    "load": loading.load,
    "memory": loading.memory,
    "invoke": invoking.invoke,
    "boto3": through_boto3.boto3,
    "fleet": loading.fleet,
    "plugin": unused_plugin.plugin,
}
TABLES: Mapping[str, tuple[Sequence[str], Callable[[Say], output.Lines]]] = {
    "http_fronts": (http_fronts.COLUMNS, http_fronts.http_fronts),
    "images": (images.COLUMNS, images.images),
    "versions": (claims.COLUMNS, tensorflow_versions.versions),
    "evidence": (claims.COLUMNS, evidence.evidence),
    "rest_bodies": (rest_bodies.COLUMNS, rest_bodies.rest_bodies),
}
_WIDTH = 150  # where the output is no terminal


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and record when asked to."""
    asked = _parser().parse_args(arguments)
    console = Console() if Console().is_terminal else Console(width=_WIDTH)
    machine = Machine()
    if machine.busy:
        console.print(f"[bold]The machine is busy (load average {machine.load_before:.2f}): expect worse figures.[/]")
    with console.status("starting") as status:
        columns, lines = _measure(asked.part, status.update)
    facts = machine.facts()
    output.show(console, columns, lines, facts)
    if asked.record:
        output.record(asked.part or "claims", columns, lines, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*PARTS, *TABLES], help="measure only this")
    parser.add_argument("--record", action="store_true", help="write the figures into bench/RESULTS.md")
    return parser


def _measure(part: str | None, say: Say) -> tuple[Sequence[str], output.Lines]:
    if part is not None and part in TABLES:
        columns, measure_all = TABLES[part]
        return columns, measure_all(say)
    with rigged(say) as rig:
        rows = [row for name, measure in PARTS.items() if part in (None, name) for row in measure(rig)]
    return claims.COLUMNS, [row.cells for row in rows]


if __name__ == "__main__":
    main()
