"""`pytest-mme fit`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from pytest_mme.cli.output import console, show_line
from pytest_mme.cli.running import run_with
from pytest_mme.errors import ArchiveError, MMEError
from pytest_mme.kit import Run
from pytest_mme.measuring.capacity import (
    Candidate,
    Capacity,
    Measured,
    Need,
    WhatFits,
    first_line,
    measured_alone,
    what_fits,
)
from pytest_mme.measuring.sample_request import request_of
from pytest_mme.models.builder import Models
from pytest_mme.versions import BY_DEFAULT

_FIT, _TOO_MANY, _NOT_MEASURED = 0, 1, 2
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    tensorflow: str
    concurrency: int
    broken: dict[str, str]
    """The archives that could not be loaded: why, by label."""
    measured: list[Measured]
    """The other archives."""
    together: Need | str | None
    """What all of them need; the reason where that was not measured; None where there was nothing to measure."""
    verdict: WhatFits | None


def fit_archives(
    archives: Annotated[
        list[Path],
        typer.Argument(metavar="ARCHIVE...", help="A `model.tar.gz`, or a folder with the same contents."),
    ],
    memory: Annotated[
        float, typer.Option(help="The memory for all models together, in MiB, such as 4096.", metavar="MIB", min=1)
    ],
    tf: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(
            help=f"The TensorFlow that serves: `2.15.1`, `2.15`, `latest`. Default: {BY_DEFAULT}.",
            metavar="VERSION",
        ),
    ] = None,
    request: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="A file with the JSON body of the request that every model gets. Default: zeros, in the shapes of `serving_default`.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(help="How many requests a model gets at the same time.", metavar="N", min=1, max=64)
    ] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print all measurements as JSON instead.")] = False,
) -> None:
    """Measure how many of these archives fit into a memory, by loading them.

    Each is loaded alone, gets one request and then several at once; then all are loaded together. What counts is the
    largest private memory of the models' processes. A container's own processes take more: give so much less memory.

        pytest-mme fit dist/*.tar.gz --memory 4096

    A request of zeros may take less memory than real ones, with longer texts or larger batches. So give a large one:

        pytest-mme fit dist/*.tar.gz --memory 4096 --request largest.json --concurrency 8

    Exit status: 0 when all fit, 1 when they do not, 2 when an archive could not be loaded.
    """
    body = None if request is None else request.read_bytes()
    try:
        with run_with(tf) as run, _progress() as show:
            found = _measure(run, archives, int(memory * _MIB), tf, body, concurrency, show)
    except (MMEError, OSError) as error:
        Console(stderr=True, highlight=False).print(f"Nothing could be measured: {error}", style="red", markup=False)
        raise typer.Exit(_NOT_MEASURED) from error
    if as_json:
        typer.echo(json.dumps(_document(found), indent=2))
    else:
        _show(found)
    if found.broken or found.verdict is None:
        raise typer.Exit(_NOT_MEASURED)
    raise typer.Exit(_FIT if found.verdict.all_fit else _TOO_MANY)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yield what shows the present step: in place on a terminal, elsewhere line by line."""
    progress = Console(stderr=True, highlight=False)
    if not progress.is_terminal:
        yield lambda text: progress.print(text, markup=False, soft_wrap=True)
        return
    with progress.status("") as status:
        yield status.update


def _measure(
    run: Run,
    archives: Sequence[Path],
    memory_bytes: int,
    tf: str | None,
    body: bytes | None,
    concurrency: int,
    show: Callable[[str], None],
) -> _Found:
    candidates, broken = _candidates(run.models, archives, body)
    measured: list[Measured] = []
    together: Need | str | None = None
    with run.server(name="fit", tf=tf) as server:
        capacity = Capacity(server, concurrency=concurrency)
        seen = measured_alone(capacity, candidates, show)
        broken |= {one.candidate.label: one.failure for one in seen if one.need is None}
        measured = [one for one in seen if one.need is not None]
        needs = [one.need.most_bytes for one in measured if one.need is not None]
        if measured:
            show(f"all {len(measured)} together")
            together = capacity.together(measured)
        tensorflow = str(server.running.facts["tensorflow"])
    most = together.most_bytes if isinstance(together, Need) else None
    return _Found(
        tensorflow=tensorflow,
        concurrency=concurrency,
        broken=broken,
        measured=measured,
        together=together,
        verdict=what_fits(needs, memory_bytes, most) if needs else None,
    )


def _candidates(models: Models, archives: Sequence[Path], body: bytes | None) -> tuple[list[Candidate], dict[str, str]]:
    """Return what can be tried, and why the others cannot. The same archive twice is two models."""
    candidates: list[Candidate] = []
    broken: dict[str, str] = {}
    for label, path in zip(_labels(archives), archives, strict=True):
        try:
            model = models.archive(path, name=f"archive-{len(candidates)}")
            asked, unasked = (body, "") if body is not None else request_of(model.archive)
        except ArchiveError as error:
            broken[label] = first_line(error.seen)
        except OSError as error:
            broken[label] = str(error)
        else:
            candidates.append(Candidate(label=label, model=model, request=asked, unasked=unasked))
    return candidates, broken


def _labels(archives: Sequence[Path]) -> list[str]:
    """Return the file names if they differ, else the paths; numbered if these do not differ either."""
    names = [path.name for path in archives]
    labels = names if len(set(names)) == len(names) else [str(path) for path in archives]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[:place].count(label) + 1})"
        for place, label in enumerate(labels)
    ]


def _document(found: _Found) -> dict[str, Any]:
    verdict = found.verdict
    return {
        "tensorflow": found.tensorflow,
        "concurrency": found.concurrency,
        "archives": [
            {
                "archive": one.candidate.label,
                **_fields(one.need),
                "request": None if one.candidate.request is None else one.candidate.request.decode(errors="replace"),
                "refused": one.refused or None,
            }
            for one in found.measured
        ],
        "not_loaded": found.broken,
        "together": _fields(found.together) if isinstance(found.together, Need) else None,
        "together_not_measured": found.together if isinstance(found.together, str) else None,
        "verdict": verdict
        and {
            **dataclasses.asdict(verdict),
            **{name: getattr(verdict, name) for name in ("all_fit", "needed_bytes", "margin_bytes", "error")},
        },
    }


def _fields(need: Need | None) -> dict[str, int | None]:
    return {} if need is None else {**dataclasses.asdict(need), "most_bytes": need.most_bytes}


def _show(found: _Found) -> None:
    if found.measured:
        console.print(_table(found))
    for one in found.measured:
        if one.refused:
            advice = "; give --request FILE" if one.candidate.request is None else ""
            show_line(f"{one.candidate.label} was not measured at every request: {one.refused}{advice}")
    for label, why in found.broken.items():
        show_line(f"{label} could not be loaded: {why}")
    if isinstance(found.together, str):
        show_line(f"Not measured together: {found.together}")
    if found.verdict is not None:
        for line in _sentences(found.verdict, " that load" if found.broken else ""):
            show_line(line)


def _table(found: _Found) -> Table:
    table = Table(title=f"MiB of private memory, TensorFlow {found.tensorflow}", title_justify="left")
    table.add_column("archive", overflow="fold")
    for heading in ("loaded", "first request", f"{found.concurrency} at once"):
        table.add_column(heading, justify="right")
    for one in found.measured:
        table.add_row(one.candidate.label, *_row(one.need))
    if isinstance(found.together, Need):
        table.add_section()
        table.add_row("all together", *_row(found.together))
    return table


def _row(need: Need | None) -> list[str]:
    if need is None:
        return []
    return ["-" if seen is None else _mib(seen) for seen in (need.loaded_bytes, need.asked_bytes, need.busy_bytes)]


def _sentences(verdict: WhatFits, which: str) -> Iterator[str]:
    """Yield the verdict in sentences. *which*: of which archives, empty for all."""
    n, memory = f"{verdict.archives}{which}", f"{verdict.memory_bytes / _MIB:g} MiB"
    needed = f"they need {_mib(verdict.needed_bytes)} MiB"
    if verdict.all_fit:
        share = verdict.margin_bytes / verdict.memory_bytes
        yield f"All {n} fit into {memory}: {needed}, and {_mib(verdict.margin_bytes)} MiB ({share:.0%}) are left."
    else:
        yield f"Not all {n} fit into {memory}: {needed}, {_mib(-verdict.margin_bytes)} MiB more."
        if verdict.any_of == 0:
            yield f"  any 0: the largest does not fit even alone, it needs {_mib(verdict.dearest_bytes)} MiB"
        else:
            largest = f"the largest need {_mib(verdict.any_bytes)} MiB"
            yield f"  any {verdict.any_of}: so many fit, whichever they are; {largest}"
        if verdict.some_of == 0:
            yield f"  some 0: not even the smallest fits alone, it needs {_mib(verdict.cheapest_bytes)} MiB"
        else:
            smallest = f"the smallest, which need {_mib(verdict.some_bytes)} MiB"
            yield f"  some {verdict.some_of}: so many fit if they are {smallest}"
    if verdict.together_bytes is not None and verdict.error is not None:
        predicted, together = _mib(verdict.predicted_bytes), _mib(verdict.together_bytes)
        yield f"Predicted, as the sum of each alone: {predicted} MiB; measured together: {together} MiB ({verdict.error:+.1%})."


def _mib(seen_bytes: int) -> str:
    return f"{seen_bytes / _MIB:.1f}"
