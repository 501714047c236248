"""`pytest-mme tensorflow …`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from pytest_mme import versions
from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.errors import MMEError
from pytest_mme.libtensorflow.toolchain import Progress as Told
from pytest_mme.libtensorflow.toolchain import Toolchain
from pytest_mme.settings import Settings

tensorflow_app = typer.Typer(no_args_is_help=True, help="The TensorFlow versions that servers can be started with.")

_Cache = Annotated[
    Path,
    typer.Option(help="Where they are kept: as pytest's --mme-cache.", envvar="PYTEST_MME_CACHE", file_okay=False),
]
_CACHE = Settings.resolve(environment={}).cache.value
_MIB = 1 << 20


@tensorflow_app.callback()
def about_versions() -> None:
    """The TensorFlow versions that servers can be started with: `pytest --mme-tf 2.15.1 --mme-tf latest`."""


@tensorflow_app.command("list")
def list_versions(cache: _Cache = _CACHE) -> None:
    """Show the versions that are here, with their sizes, and when they were last used."""
    table = Table("version", "MiB", "last used")
    with contextlib.suppress(MMEError):
        table.add_row(versions.installed(), "", "installed")
    for kept in _toolchain(cache).kept():
        used = datetime.fromtimestamp(kept.used).astimezone()
        table.add_row(kept.version, f"{kept.size_bytes / _MIB:.0f}", f"{used:%Y-%m-%d %H:%M}")
    console.print(table)
    show_line(f"in {_folder(cache)}")


@tensorflow_app.command("fetch")
def fetch_versions(
    asked: Annotated[list[str], typer.Argument(metavar="VERSION...", help="As in 2.15.1 or 2.15, or latest.")],
    cache: _Cache = _CACHE,
) -> None:
    """Fetch versions from the package index, by pip and as it is configured. They are kept: a second time takes nothing.

    Only the shared libraries and the headers of a wheel are kept, so any version from 2.5 on can be had, whatever
    Python this is.
    """
    toolchain = _toolchain(cache)
    for one in asked:
        with explained(), checked("VERSION"), fetching() as tell:
            directory = toolchain.directory(one, tell)
        show_line(f"TensorFlow {toolchain.resolve(one)} is in {directory}")


@tensorflow_app.command("remove")
def remove_versions(
    gone: Annotated[list[str], typer.Argument(metavar="VERSION...", help="As `list` shows them.")],
    cache: _Cache = _CACHE,
) -> None:
    """Remove versions from the cache."""
    for version in gone:
        with explained():
            _toolchain(cache).remove(version)
        show_line(f"removed TensorFlow {version}")


def _folder(cache: Path) -> Path:
    return cache.absolute() / "tensorflow"


def _toolchain(cache: Path) -> Toolchain:
    return Toolchain(_folder(cache))


@contextlib.contextmanager
def fetching() -> Iterator[Told]:
    """A bar for as long as something is being fetched."""
    columns = (TextColumn("fetching {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, visible=False)
        yield lambda version, share: bar.update(
            task, description=f"TensorFlow {version}", completed=share, visible=True
        )
