"""What commands that start servers share: the settings, a run on this machine, and a bar while TensorFlow is fetched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from pytest_mme import versions
from pytest_mme.cli.output import checked, console
from pytest_mme.kit import Run
from pytest_mme.libtensorflow.version_cache import Progress as ShowProgress
from pytest_mme.settings import Settings


def settings_with(given: Mapping[str, str]) -> Settings:
    """Return the settings of the environment, under those *given* by name; raises `SettingError` for a bad one."""
    return Settings.resolve(cli=lambda option: given.get(option.name), environment=os.environ)


@contextlib.contextmanager
def run_with(tf: str | None) -> Iterator[Run]:
    """Yield a run on this machine whose servers start with the version *tf*, which is fetched where it is missing."""
    if tf is not None:
        with checked("--tf"):
            versions.check(tf)
    with Run(settings_with({"runtime": "local"})) as run:
        with fetching() as show:
            run.version_cache.directory(tf, show)
        yield run


@contextlib.contextmanager
def fetching() -> Iterator[ShowProgress]:
    """Yield what shows how much of a version is fetched, in a bar."""
    columns = (TextColumn("fetching {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, visible=False)
        yield lambda version, share: bar.update(
            task, description=f"TensorFlow {version}", completed=share, visible=True
        )
