"""`pytest-mme doctor`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.text import Text

from pytest_mme.archives.inspect import Inspection, SavedModelFiles, inspected
from pytest_mme.archives.op_registry import registry
from pytest_mme.cli.output import checked, console, explained, show_error
from pytest_mme.doctor import Finding, diagnose, matters
from pytest_mme.doctor.code import imports, requirements
from pytest_mme.errors import ArchiveError
from pytest_mme.runtimes.docker.engine import connect, find_image
from pytest_mme.runtimes.docker.image_versions import tensorflow_in
from pytest_mme.settings import Settings

_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}
_UNREADABLE = 2
_OPS_SHOWN = 8
_MIB = 1 << 20


def examine_archives(
    archives: Annotated[
        list[Path],
        typer.Argument(metavar="ARCHIVE...", help="A `model.tar.gz`, or a folder with the same contents."),
    ],
    tf: Annotated[
        Optional[list[str]],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="The TensorFlow that will serve it: `2.15.1`, `2.15`, `installed`, or `latest`, the newest that is known. "
            "Give it several times for several.",
            metavar="VERSION",
        ),
    ] = None,
    image: Annotated[
        Optional[list[str]],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="The image that will serve it: a container of it runs for a moment, to look up its TensorFlow. "
            "Give it several times for several.",
            metavar="IMAGE",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what archives contain and what will go wrong with them on a multi-model endpoint. No TensorFlow is needed.

    Without --tf and --image they are examined for the installed TensorFlow, or else for the newest release that is known.

        pytest-mme doctor dist/*.tar.gz --tf 2.12.1 --tf 2.20

        pytest-mme doctor dist/*.tar.gz --image my-multi-model-server:latest

    Exit status: 0 without errors and warnings, 1 with some, 2 when an archive cannot be read.
    """
    serving = _serving(tf or [], image or [])
    with explained():
        examined = {str(path): _examine(path, serving, show=not as_json) for path in archives}
    if as_json:
        console.print_json(
            json.dumps({"serving": serving, "archives": {path: document for path, (_, document) in examined.items()}})
        )
    raise typer.Exit(max(status for status, _ in examined.values()))


def _serving(tf: list[str], images: list[str]) -> list[str]:
    """Return the versions that are asked for, each once."""
    known = registry()
    with explained():
        with checked("--tf"):
            serving = [known.serving(one) for one in tf]
        with checked("--image"):
            if images:
                pull = Settings.resolve(environment=os.environ).pull.value
                with contextlib.closing(connect()) as engine:
                    found = [find_image(engine, name, pull) for name in images]
                    serving += [known.serving(tensorflow_in(engine, one)) for one in found]
    return list(dict.fromkeys(serving)) or [known.nearest_installed()]


def _examine(path: Path, serving: list[str], *, show: bool) -> tuple[int, dict[str, Any]]:
    """Return the exit status for an archive, and its contents and findings."""
    try:
        with inspected(path) as archive:
            findings = diagnose(archive, serving)
            if show:
                _show(archive, findings)
            fields = [
                {**dataclasses.asdict(one.kind), "fact": one.fact, "where": one.where, "tensorflow": one.tensorflow}
                for one in findings
            ]
            document = {**_contents(archive), "findings": fields}
    except (ArchiveError, OSError) as error:
        if show:
            show_error(error)
        return _UNREADABLE, {"error": str(error)}
    return int(matters(findings)), document


def _contents(archive: Inspection) -> dict[str, Any]:
    return {
        "bytes": archive.size_bytes,
        "unpacked_bytes": archive.unpacked_bytes,
        "versions": {number: _described(model) for number, model in archive.versions.items()},
        "code": [
            member.name for member in archive.members if member.name.startswith("code/") and member.kind == "file"
        ],
        "imports": imports(archive),
        "requirements": requirements(archive),
    }


def _described(model: SavedModelFiles) -> dict[str, Any]:
    if model.served is None:
        return {}
    graph = model.served.graph_def
    return {
        "exporter": model.exporter,
        "producer": graph.versions.producer,
        "min_consumer": graph.versions.min_consumer,
        "signatures": {
            name: {
                side: {key: _tensor(spec) for key, spec in getattr(signature, side).items()}
                for side in ("inputs", "outputs")
            }
            for name, signature in sorted(model.signatures.items())
        },
        "ops": dict(model.ops.most_common()),
        "functions": len(model.functions),
        "assets": [asset.filename for asset in model.assets],
    }


def _tensor(spec: Any) -> str:
    from pytest_mme.libtensorflow import protos

    name = protos.data_type_name(spec.data_type).removeprefix("DT_").lower()
    if spec.shape is None:
        return f"{name}, any shape"
    return f"{name}[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"


def _show(archive: Inspection, findings: list[Finding]) -> None:
    size, unpacked = archive.size_bytes / _MIB, archive.unpacked_bytes / _MIB
    console.print(Text(f"{archive.path}: {size:.1f} MiB, {unpacked:.1f} MiB unpacked", style="bold"))
    for number, model in archive.versions.items():
        _show_model(number, _described(model))
    for finding in findings:
        what = (f"  {finding.code} {finding.severity}", _STYLES[finding.severity])
        console.print(Text.assemble(what, f": {finding.heading}"), soft_wrap=True)
        for line in finding.lines:
            console.print(Text(f"    {line}"), soft_wrap=True)
    if not findings:
        console.print("  no findings", style="green")


def _show_model(number: int, described: dict[str, Any]) -> None:
    if not described:
        return
    graph = f"producer {described['producer']}, min_consumer {described['min_consumer']}"
    console.print(
        Text(f"  version {number}: saved by TensorFlow {described['exporter'] or 'unknown'}, {graph}"), soft_wrap=True
    )
    for name, signature in described["signatures"].items():
        sides = (", ".join(f"{key}: {tensor}" for key, tensor in signature[side].items()) for side in signature)
        console.print(Text(f"    {name}: {' -> '.join(sides)}"), soft_wrap=True)
    ops = list(described["ops"])
    more = f" and {len(ops) - _OPS_SHOWN} more" if len(ops) > _OPS_SHOWN else ""
    console.print(Text(f"    operations: {', '.join(ops[:_OPS_SHOWN])}{more}"), soft_wrap=True)
