"""`pytest-mme optimise`."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.cli.running import run_with
from pytest_mme.measuring.capacity import Candidate
from pytest_mme.measuring.cost import ServingCost, serving_cost
from pytest_mme.measuring.sample_request import request_of
from pytest_mme.versions import BY_DEFAULT

_CONCURRENCY = 4
_MIB = 1 << 20


def optimise_archive(
    archive: Annotated[
        Path, typer.Argument(metavar="ARCHIVE", help="A `model.tar.gz`, or a folder with the same contents.")
    ],
    output: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(help="Write the optimised `model.tar.gz` to this file. Default: only measure.", dir_okay=False),
    ] = None,
    tf: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(
            help=f"The TensorFlow that optimises and serves: `2.15.1`, `2.15`, `latest`. Default: {BY_DEFAULT}.",
            metavar="VERSION",
        ),
    ] = None,
    inputs: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            help='A JSON file of values by the inputs\' names, as in {"x": [[1.0], [2.0]]}: the predictions for them are '
            "compared, and requests with them measured. Default: random numbers to compare, zeros to measure.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How much floats in the predictions may differ, relatively or absolutely.", min=0)
    ] = 1e-5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Freeze a model's variables into constants, let Grappler rewrite its graph, and measure what that changes.

    The predictions are compared first. Then the embedded server serves both archives, one after the other, and shows
    their memory and how long a load and a request take. Optimising may cost more than it gains, so look at the numbers.

        pytest-mme optimise model.tar.gz

        pytest-mme optimise model.tar.gz --inputs inputs.json --output optimised.tar.gz

    Exit status: 0 when the model was optimised, 1 when that is not possible, 2 for inputs that make no sense.
    """
    given = None if inputs is None else _read(inputs)
    with explained(), run_with(tf) as run:
        before = run.models.archive(archive, name="before")
        after = run.models.optimised(before, "after", inputs=given, tolerance=tolerance, saved_by=tf)
        effects: dict[str, ServingCost] = {}
        for model in (before, after):
            request, unasked = request_of(model.archive, given)
            candidate = Candidate(label=model.name, model=model, request=request, unasked=unasked)
            with run.server(name=model.name, tf=tf) as server:
                effects[model.name] = serving_cost(server, candidate, concurrency=_CONCURRENCY)
        if output is not None:
            shutil.copyfile(after.archive, output)
    if as_json:
        document = {
            name: {**dataclasses.asdict(one), "most_bytes": one.need.most_bytes} for name, one in effects.items()
        }
        console.print_json(json.dumps(document))
    else:
        _show(effects, output)


def _read(path: Path) -> dict[str, Any]:
    with checked("--inputs"):
        given = json.loads(path.read_text())
        if not isinstance(given, dict):
            raise ValueError("it is not an object of values by the inputs' names")  # noqa: TRY004  what `checked` explains
        return given


def _show(effects: dict[str, ServingCost], output: Path | None) -> None:
    table = Table("", *effects)
    for column in table.columns[1:]:
        column.justify = "right"
    costs = list(effects.values())
    needs = [one.need for one in costs]
    rows: dict[str, list[float | None]] = {
        "archive, MiB": [one.archive_bytes / _MIB for one in costs],
        "memory when loaded, MiB": [need.loaded_bytes / _MIB for need in needs],
        "memory at the first request, MiB": [need.asked_bytes and need.asked_bytes / _MIB for need in needs],
        f"memory at {_CONCURRENCY} at once, MiB": [need.busy_bytes and need.busy_bytes / _MIB for need in needs],
        "load, ms": [one.load_s * 1e3 for one in costs],
        "request, ms": [one.latency_s and one.latency_s * 1e3 for one in costs],
    }
    for name, values in rows.items():
        table.add_row(name, *("-" if value is None else f"{value:.1f}" for value in values))
    console.print(table)
    if refused := next((one.refused for one in costs if one.refused), None):
        show_line(f"not measured at every request: {refused}")
    if output is not None:
        show_line(f"the optimised archive is {output}")
