"""`pytest-mme conformance`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Optional
from urllib.parse import urlsplit

import typer
from rich.console import Console

from pytest_mme.cli.output import console
from pytest_mme.contract.client import ContractClient
from pytest_mme.contract.conformance.judge import CLAUSES, Clause, Report, Specimens, Subject, judge_conformance
from pytest_mme.contract.conformance.report import document, explanation, summary, table
from pytest_mme.errors import MMEError
from pytest_mme.kit import Run
from pytest_mme.runtimes.permissions import let_others_read
from pytest_mme.settings import Settings

_STATUS = {"pass": 0, "deviation": 1, "not judged": 2}
_INTERRUPTED = 130
_STDOUT = Path("-")
_ADDRESS = re.compile(r"(localhost|[\d.]+|\[[\da-f:]+\]):\d+(/.*)?")


def judge_server(
    target: Annotated[
        str,
        typer.Argument(
            help="The address of a server, as in `http://localhost:8080`, or an image, which is started.",
            metavar="TARGET",
        ),
    ],
    models: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="A folder that the server sees, too: test models are put there. Default: a temporary one, which a server "
            "on this machine sees.",
            exists=True,
            file_okay=False,
            writable=True,
        ),
    ] = None,
    models_at: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(help="The server's path of that folder. Default: the same as here.", metavar="PATH"),
    ] = None,
    json_file: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            "--json",
            help="Write every request and reply to this file, as JSON; `-` is the standard output.",
            allow_dash=True,
            dir_okay=False,
        ),
    ] = None,
    pages: Annotated[
        bool, typer.Option("--pages", help="Judge the pages of the list of models, too, which takes 101 loaded models.")
    ] = False,
) -> None:
    """Judge whether a server keeps the container contract of multi-model endpoints, clause by clause.

    Tiny test models are loaded and unloaded again; other models of the server are left alone.

        pytest-mme conformance IMAGE

    A server that runs already must see a folder of this machine, for the test models:

        docker run -e SAGEMAKER_MULTI_MODEL=true -p 8080:8080 -v /tmp/judged:/opt/ml/models IMAGE serve

        pytest-mme conformance http://localhost:8080 --models /tmp/judged --models-at /opt/ml/models

    Exit status: 0 when every clause is kept, 1 when one is not, 2 when the server could not be judged, 130 after Ctrl-C.
    """
    if models_at is not None and models is None:
        raise typer.BadParameter("give the folder of this machine, too: --models", param_hint="--models-at")
    shown = Console(highlight=False, stderr=True) if json_file == _STDOUT else console
    try:
        with _interruptible(), Run() as run, _conformance_target(target, models, models_at) as subject:
            report = _judged(subject, run, pages)
    except (MMEError, OSError) as error:
        shown.print(f"{target} could not be judged: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(_STATUS["not judged"]) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(_INTERRUPTED) from interrupt
    _show(report, shown)
    if json_file is not None:
        text = json.dumps(document(report), indent=2)
        if json_file == _STDOUT:
            typer.echo(text)
        else:
            json_file.write_text(text + "\n")
    raise typer.Exit(_STATUS[report.verdict])


@contextlib.contextmanager
def _conformance_target(target: str, models: Path | None, models_at: str | None) -> Iterator[Subject]:
    """Yield the server that *target* names, ready to be judged."""
    url = urlsplit(target)
    if _ADDRESS.fullmatch(target):
        raise typer.BadParameter(f"{target!r} looks like an address without its scheme: write http://{target}")
    if "://" not in target:
        with _started(target, models) as subject:
            yield subject
        return
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise typer.BadParameter(f"{target!r} is not a server's address: give one as in http://localhost:8080")
    with contextlib.ExitStack() as undo:
        if models is None:
            models = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="pytest-mme-conformance-")))
            models.chmod(0o755)  # the server may be another user's
        folder = models.absolute()
        known_as = PurePosixPath(models_at or folder)
        client = undo.enter_context(contextlib.closing(ContractClient(f"{url.scheme}://{url.netloc}")))

        def place(placed: Path) -> str:
            let_others_read(placed, below=placed.parent)
            return str(known_as / placed.relative_to(folder))

        yield Subject(client=client, models=folder, place=place)


@contextlib.contextmanager
def _started(image: str, models: Path | None) -> Iterator[Subject]:
    """Yield the server of a new container of an image."""
    if models is not None:
        raise typer.BadParameter(
            f"{image!r} is an image, which is started with a folder of its own", param_hint="--models"
        )
    settings = Settings.resolve(environment={**os.environ, "PYTEST_MME_RUNTIME": "docker", "PYTEST_MME_IMAGE": image})
    with Run(settings) as run, run.server(name="judged") as server:
        running = server.running
        yield Subject(client=running.client, models=running.models, place=running.place, used_bytes=running.used_bytes)


def _judged(subject: Subject, run: Run, pages: bool) -> Report:
    specimens = Specimens.build(run.models)
    progress = Console(stderr=True)
    if not progress.is_terminal:
        return judge_conformance(subject, specimens, pages=pages)
    with progress.status("") as status:

        def show(clause: Clause) -> None:
            status.update(f"judging clause {CLAUSES.index(clause) + 1} of {len(CLAUSES)}: {clause.id}")

        return judge_conformance(subject, specimens, pages=pages, begin=show)


def _show(report: Report, shown: Console) -> None:
    reasons = {result.reason for result in report.results}
    if report.verdict == "not judged" and len(reasons) == 1:
        shown.print(
            f"{report.url} could not be judged: {reasons.pop()}\n  next: start the server, or correct its address",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        return
    shown.print(table(report))
    deviating = [result for result in report.results if result.verdict == "deviation"]
    for result in deviating:
        shown.print(f"{result.clause.id}: {explanation(result)}", markup=False, soft_wrap=True)
    shown.print(f"{report.url}: {summary(report)}", markup=False, soft_wrap=True)
    if "load.200" in (result.clause.id for result in deviating):
        shown.print("If the server cannot see the test models: --models and --models-at name their folder.")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the command like Ctrl-C, so that the test models are unloaded."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
