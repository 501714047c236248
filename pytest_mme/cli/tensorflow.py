"""`pytest-mme tensorflow …`."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from pytest_mme import versions
from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.cli.running import fetching, settings_with
from pytest_mme.errors import MMEError
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.settings import Settings

tensorflow_app = typer.Typer(
    no_args_is_help=True, help="List, fetch and remove the TensorFlow versions that servers can be started with."
)

_Cache = Annotated[
    Optional[Path],  # noqa: UP045  typer reads annotations
    typer.Option(
        help="The folder where they are kept, as pytest's --mme-cache. Default: PYTEST_MME_CACHE, or else the user's cache folder.",
        file_okay=False,
    ),
]
_MIB = 1 << 20


@tensorflow_app.command("list")
def list_versions(cache: _Cache = None) -> None:
    """List the versions that are here, with their sizes, and when they were last used.

        pytest-mme tensorflow list

    Exit status: 0, or 1 for a setting in the environment that makes no sense.
    """
    with explained():
        settings = _settings(cache)
    table = Table("version", "MiB", "last used")
    with contextlib.suppress(MMEError):
        table.add_row(versions.installed(), "", "installed")
    for kept in VersionCache.of(settings).kept():
        used = datetime.fromtimestamp(kept.used).astimezone()
        table.add_row(kept.version, f"{kept.size_bytes / _MIB:.0f}", f"{used:%Y-%m-%d %H:%M}")
    console.print(table)
    show_line(f"in {settings.cache.value / 'tensorflow'}")


@tensorflow_app.command("fetch")
def fetch_versions(
    asked: Annotated[list[str], typer.Argument(metavar="VERSION...", help="As in `2.15.1`, `2.15` or `latest`.")],
    cache: _Cache = None,
) -> None:
    """Fetch versions from the package index that pip is configured for, and keep them in the cache.

    Only the shared libraries and headers of a wheel are kept, so any version from 2.5 on works with any Python.

        pytest-mme tensorflow fetch 2.15.1 latest

    Exit status: 0 when all are here, 1 when one cannot be fetched, 2 for a name that is not a version.
    """
    with explained():
        version_cache = VersionCache.of(_settings(cache))
    for one in asked:
        with explained(), checked("VERSION"), fetching() as show:
            directory = version_cache.directory(one, show)
        show_line(f"TensorFlow {version_cache.resolve(one)} is in {directory}")


@tensorflow_app.command("remove")
def remove_versions(
    gone: Annotated[list[str], typer.Argument(metavar="VERSION...", help="Exact versions, as `list` shows them.")],
    cache: _Cache = None,
) -> None:
    """Remove versions from the cache.

        pytest-mme tensorflow remove 2.15.1

    Exit status: 0 when all were removed, 1 when one is not in the cache.
    """
    for version in gone:
        with explained():
            VersionCache.of(_settings(cache)).remove(version)
        show_line(f"removed TensorFlow {version}")


def _settings(cache: Path | None) -> Settings:
    given = {} if cache is None else {"cache": str(cache)}
    return settings_with(given)
