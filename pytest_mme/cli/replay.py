"""`pytest-mme bundle` and `pytest-mme replay`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.cli.running import settings_with
from pytest_mme.kit import Run
from pytest_mme.replay import bundle as bundles
from pytest_mme.replay.bundle import Bundle
from pytest_mme.replay.judge_again import compare, judge
from pytest_mme.replay.run_again import rerun
from pytest_mme.report.sections import lines
from pytest_mme.settings import Settings
from pytest_mme.timeline.events import Timeline


def bundle_failure(
    name: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Argument(metavar="[NAME]", help="The failure's name, as the failed test shows it. Default: the last."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(help="The file to write. Default: NAME.zip, in this folder.", dir_okay=False),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the failures that are kept: the last 20.")] = False,
) -> None:
    """Pack a failed test into one file: its timeline, how its servers were started, its models, settings and seed.

    It contains the archives of your own models and your code; models that the kit built are rebuilt when it is
    replayed. `pytest-mme replay FILE` needs nothing beside the file.

        pytest-mme bundle --list

        pytest-mme bundle test_eviction-1a2b3c --output failure.zip

    Exit status: 0 when the file was written, 1 when an archive is gone or a setting makes no sense, 2 when no
    failure of that name is kept.
    """
    with explained():
        settings = settings_with({})
    if list_all:
        for file in bundles.kept(settings.cache.value):
            show_line(f"{file.stem}  {bundles.age(file)}")
        return
    with tempfile.TemporaryDirectory(prefix="pytest-mme-") as folder, checked("NAME"):
        file = _file(name, settings)
        found = bundles.read(file, Path(folder))
        target = output or Path(f"{file.stem}.zip")
        with explained(), Run(settings) as run:
            bundles.pack(found, target, run.models)
    show_line(f"{target}: {found.test}, {len(found.models)} models, {target.stat().st_size / 2**20:.1f} MiB")
    show_line(f"pytest-mme replay {target}")


def replay_bundle(
    name: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Argument(
            metavar="[FILE|NAME]", help="A bundle, or the name of a failure that is kept. Default: the last."
        ),
    ] = None,
    run_again: Annotated[
        bool,
        typer.Option(
            "--run", help="Start its servers again, repeat its requests and faults, and judge what happens now."
        ),
    ] = False,
    runtime: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="Where to run it: `local`, `docker` or `attach`. Default: where it ran, or PYTEST_MME_RUNTIME."
        ),
    ] = None,
    image: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(help="The image of --runtime docker."),
    ] = None,
    url: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(help="The server of --runtime attach."),
    ] = None,
) -> None:
    """Judge the record of a failed test again, without a server; or, with --run, repeat it on any runtime.

    Every check that the test made is made again, and both results are shown side by side. With --run, requests are
    repeated in the recorded order, concurrent ones concurrently.

        pytest-mme replay

        pytest-mme replay failure.zip --run --runtime docker --image pytest-mme-server:2.21.0

    Of a test that made no check, but failed otherwise, the timeline is shown: the recorded one, or with --run the new.

    Exit status: 0 when all checks pass now, 1 when one fails, there was none, the test cannot be repeated or a
    setting makes no sense, 2 when there is no such bundle.
    """
    with tempfile.TemporaryDirectory(prefix="pytest-mme-") as folder:
        with explained(), checked("FILE|NAME"):
            found = bundles.read(_file(name, settings_with({})), Path(folder))
        show_line(found.test)
        show_line(f"  failed: {found.failure}")
        if found.settings:
            show_line(f"  settings: {', '.join(f'{name}={value}' for name, value in found.settings.items())}")
        timeline = _repeat(found, runtime, image, url) if run_again else found.timeline
    verdicts = list(compare(found, timeline) if run_again else judge(found))
    if verdicts:
        table = Table("check", "then", "now", box=None, padding=(0, 2, 0, 0))
        for verdict in verdicts:
            results = (verdict.then, verdict.now)
            shown = (Text("passed", "green") if failed is None else Text(failed, "red") for failed in results)
            table.add_row(Text(f"{verdict.server}.{verdict.check}"), *shown)
        console.print(table)
    else:
        show_line("the test made no check of a server or an endpoint, so there is nothing to judge; what happened:")
        for line in lines(list(timeline)):
            show_line(line)
    raise typer.Exit(0 if verdicts and all(verdict.now is None for verdict in verdicts) else 1)


def _file(name: str | None, settings: Settings) -> Path:
    """Return the bundle of that name; raises ValueError when there is none."""
    kept = bundles.kept(settings.cache.value)
    if name is None:
        if not kept:
            raise ValueError("no failure is kept: give a file, or run a test that fails")
        return kept[0]
    if Path(name).is_file():
        return Path(name)
    found = [file for file in kept if file.stem == name]
    if not found:
        known = ", ".join(file.stem for file in kept[:5]) or "none"
        raise ValueError(f"there is no file {name} and no failure of that name; these are kept: {known}")
    return found[0]


def _repeat(found: Bundle, runtime: str | None, image: str | None, url: str | None) -> Timeline:
    asked = {"runtime": runtime, "image": image, "url": url}
    was = {
        name: value
        for name, value in found.settings.items()
        if name in ("enforcement", "seed", "runtime", "image", "url")
    }
    if runtime is not None:  # another place, with an image or address of its own
        was = {name: value for name, value in was.items() if name in ("enforcement", "seed")}
    given = was | {name: value for name, value in asked.items() if value is not None}
    with explained(), Run(settings_with(given)) as run:
        timeline, left_out = rerun(found, run)
    for what in dict.fromkeys(left_out):
        show_line(f"  left out: {what}")
    return timeline
