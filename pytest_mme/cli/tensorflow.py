"""`pytest-mme tensorflow …`."""

from __future__ import annotations

import contextlib
import os
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
from pytest_mme.kit import Run
from pytest_mme.libtensorflow.version_cache import Progress as ShowProgress
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.settings import Settings

tensorflow_app = typer.Typer(
    no_args_is_help=True, help="List, fetch and remove the TensorFlow versions that servers can be started with."
)

_Cache = Annotated[
    Path,
    typer.Option(
        help="The folder where they are kept, as pytest's --mme-cache.", envvar="PYTEST_MME_CACHE", file_okay=False
    ),
]
_CACHE = Settings.resolve(environment={}).cache.value
_MIB = 1 << 20


@tensorflow_app.command("list")
def list_versions(cache: _Cache = _CACHE) -> None:
    """List the versions that are here, with their sizes, and when they were last used.

        pytest-mme tensorflow list

    Exit status: 0.
    """
    table = Table("version", "MiB", "last used")
    with contextlib.suppress(MMEError):
        table.add_row(versions.installed(), "", "installed")
    for kept in _version_cache(cache).kept():
        used = datetime.fromtimestamp(kept.used).astimezone()
        table.add_row(kept.version, f"{kept.size_bytes / _MIB:.0f}", f"{used:%Y-%m-%d %H:%M}")
    console.print(table)
    show_line(f"in {_folder(cache)}")


@tensorflow_app.command("fetch")
def fetch_versions(
    asked: Annotated[list[str], typer.Argument(metavar="VERSION...", help="As in `2.15.1`, `2.15` or `latest`.")],
    cache: _Cache = _CACHE,
) -> None:
    """Fetch versions from the package index that pip is configured for, and keep them in the cache.

    Only the shared libraries and headers of a wheel are kept, so any version from 2.5 on works with any Python.

        pytest-mme tensorflow fetch 2.15.1 latest

    Exit status: 0 when all are here, 1 when one cannot be fetched, 2 for a name that is not a version.
    """
    version_cache = _version_cache(cache)
    for one in asked:
        with explained(), checked("VERSION"), fetching() as show:
            directory = version_cache.directory(one, show)
        show_line(f"TensorFlow {version_cache.resolve(one)} is in {directory}")


@tensorflow_app.command("remove")
def remove_versions(
    gone: Annotated[list[str], typer.Argument(metavar="VERSION...", help="Exact versions, as `list` shows them.")],
    cache: _Cache = _CACHE,
) -> None:
    """Remove versions from the cache.

        pytest-mme tensorflow remove 2.15.1

    Exit status: 0 when all were removed, 1 when one is not in the cache.
    """
    for version in gone:
        with explained():
            _version_cache(cache).remove(version)
        show_line(f"removed TensorFlow {version}")


@contextlib.contextmanager
def run_with(tf: str | None) -> Iterator[Run]:
    """Yield a run on this machine whose servers start with the version *tf*, which is fetched where it is missing."""
    with checked("--tf"):
        versions.check(versions.INSTALLED if tf is None else tf)
    with Run(Settings.resolve(environment={**os.environ, "PYTEST_MME_RUNTIME": "local"})) as run:
        with fetching() as show:
            run.version_cache.directory(tf, show)
        yield run


def _folder(cache: Path) -> Path:
    return cache.absolute() / "tensorflow"


def _version_cache(cache: Path) -> VersionCache:
    return VersionCache(_folder(cache))


@contextlib.contextmanager
def fetching() -> Iterator[ShowProgress]:
    """Yield what shows how much of a version is fetched, in a bar."""
    columns = (TextColumn("fetching {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, visible=False)
        yield lambda version, share: bar.update(
            task, description=f"TensorFlow {version}", completed=share, visible=True
        )
