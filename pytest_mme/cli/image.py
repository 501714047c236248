"""`pytest-mme image …`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.cli.running import settings_with
from pytest_mme.images import build as images
from pytest_mme.images.context import image_names
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.runtimes.docker.engine import connect
from pytest_mme.versions import BY_DEFAULT

image_app = typer.Typer(no_args_is_help=True, help="Build the images that `pytest --mme-runtime=docker` can run.")

_TEXT = 60


@image_app.command("build")
def build_image(
    name: Annotated[
        str,
        typer.Argument(
            help="`server`: the embedded server with TensorFlow's libraries; `mms`: AWS's multi-model-server "
            "with its inference toolkit and TensorFlow's Python package."
        ),
    ],
    tf: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(
            help=f"The TensorFlow in the image, from 2.12 on: `2.18.1`, `2.18`, `latest`. Default: {BY_DEFAULT}.",
            metavar="VERSION",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="The image to build on: Debian 12 or later, with or without Python.")
    ] = images.DEFAULT_BASE,
    ca_bundle: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="A file of certificates to trust while building, behind a proxy that decrypts TLS.", dir_okay=False
        ),
    ] = None,
) -> None:
    """Build the image `pytest-mme-NAME`, unless it is here already and its contents have not changed.

    The first build takes a few minutes: Debian packages and TensorFlow's wheel are fetched.

        pytest-mme image build server

        pytest --mme-runtime=docker

    AWS's multi-model-server, with another TensorFlow:

        pytest-mme image build mms --tf 2.18.1

        pytest --mme-runtime=docker --mme-image=pytest-mme-mms:2.18.1

    Exit status: 0 when the image is here, 1 when it could not be built, 2 for an argument that makes no sense.
    """
    if name not in image_names():
        raise typer.BadParameter(f"choose one of {', '.join(image_names())}", param_hint="NAME")
    if ca_bundle is not None and not ca_bundle.is_file():
        raise typer.BadParameter(f"{ca_bundle} is not a file", param_hint="--ca-bundle")
    began = time.monotonic()
    with explained():
        with checked("--tf"):
            version = VersionCache.of(settings_with({})).resolve(tf)
        with contextlib.closing(connect()) as engine, _progress() as progress:
            built = images.build(engine, name, tensorflow=version, base=base, ca_bundle=ca_bundle, progress=progress)
    how = (
        f"built in {time.monotonic() - began:.0f} s" if built else "is here already, and its contents have not changed"
    )
    show_line(f"{images.tag(name, version)} {how}")


@contextlib.contextmanager
def _progress() -> Iterator[images.Progress]:
    """Yield what shows a step: in a bar on a terminal, elsewhere in a line."""
    if not console.is_terminal:
        yield lambda number, count, what: show_line(f"  {number}/{count}  {what[:_TEXT]}")
        return
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("connecting to the engine", total=None)
        yield lambda number, count, what: bar.update(task, completed=number - 1, total=count, description=what[:_TEXT])
