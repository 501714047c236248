"""`pytest-mme serve`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pytest_mme.archives.archive import extract, is_saved_model, versions
from pytest_mme.archives.code import INFERENCE, code_in
from pytest_mme.cli.output import checked, console, explained, show_line
from pytest_mme.cli.running import fetching, settings_with
from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient
from pytest_mme.errors import MMEError
from pytest_mme.libtensorflow.version_cache import VersionCache
from pytest_mme.report.sections import line
from pytest_mme.runtimes import leases
from pytest_mme.serving.config import Admission, DeviceAsked, HowEnforced, OutOfMemory, ServingConfig
from pytest_mme.serving.memory import gpu
from pytest_mme.serving.server import EventStream, serve
from pytest_mme.timeline.events import Event
from pytest_mme.versions import BY_DEFAULT


def serve_models(
    directory: Annotated[
        Path,
        typer.Argument(
            help="A folder of models: `NAME.tar.gz` archives or SavedModel folders.", exists=True, file_okay=False
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)] = 8080,
    memory_mib: Annotated[
        Optional[float],  # noqa: UP045  typer reads annotations
        typer.Option(help="The memory for all loaded models together, in MiB. Default: no limit.", min=1),
    ] = None,
    admission: Annotated[
        Admission,
        typer.Option(help="What a load that would not fit gets: `estimate`: status 507; `none`: memory runs out."),
    ] = "estimate",
    oom: Annotated[
        OutOfMemory,
        typer.Option(
            help="Who notices that memory runs out: the `kernel`, which kills, or `tensorflow`, which raises an error."
        ),
    ] = "kernel",
    enforcement: Annotated[
        HowEnforced,
        typer.Option(help="How memory is limited: by a memory `cgroup`, or `sampled` by the server, which kills."),
    ] = "auto",
    code: Annotated[
        Optional[Path],  # noqa: UP045  typer reads annotations
        typer.Option(
            help="A folder with an `inference.py` that handles the requests of all models without code of their own."
        ),
    ] = None,
    tf: Annotated[
        Optional[str],  # noqa: UP045  typer reads annotations
        typer.Option(help=f"The TensorFlow that serves: `2.15.1`, `2.15`, `latest`. Default: {BY_DEFAULT}."),
    ] = None,
    device: Annotated[
        DeviceAsked, typer.Option(help="Where the models run: `cpu`, `gpu`, or `auto` (on a GPU where there is one).")
    ] = "cpu",
) -> None:
    """Serve the models in DIRECTORY as a multi-model container would, until Ctrl-C.

    Each is loaded at the start, under its own name; `POST /models` loads more.

        pytest-mme serve models/ --memory-mib 2048

    Then, in another terminal:

        curl localhost:8080/models

        curl localhost:8080/models/NAME/invoke -H 'Content-Type: application/json' -d '{"instances": [[1.0]]}'

    Exit status: 0 after Ctrl-C, 1 when the server cannot start, 2 for an option that makes no sense.
    """
    if code is not None and not (code / INFERENCE).is_file():
        raise typer.BadParameter(f"{code} has no {INFERENCE}", param_hint="--code")
    with explained(), checked("--tf"), fetching() as show:
        libraries = VersionCache.of(settings_with({})).directory(tf, show)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    config = ServingConfig(
        host=host,
        port=port,
        memory_bytes=None if memory_mib is None else int(memory_mib * 2**20),
        admission=admission,
        oom=oom,
        enforcement=enforcement,
        code=None if code is None else str(code.absolute()),
        tensorflow=str(libraries),
        device=gpu.settle(device),
    )
    with contextlib.ExitStack() as undo:
        folder = leases.own_directory(undo.callback).path
        name, record = f"pytest-mme-{folder.name}", str(folder / leases.CGROUPS)
        status = _serve(dataclasses.replace(config, cgroup_name=name, cgroup_record=record), directory, folder)
    raise typer.Exit(status)


def _serve(config: ServingConfig, directory: Path, folder: Path) -> int:
    began_s = time.monotonic()

    def show(text: bytes) -> None:
        fields = json.loads(text)
        if "ready" in fields:
            threading.Thread(target=_load_all, args=(fields["ready"], config, directory, folder), daemon=True).start()
        elif fields["kind"] != "sample":
            event = Event(**fields)
            show_line(line(dataclasses.replace(event, at_s=event.at_s - began_s, server=None)))

    events = EventStream(config.name, show)
    try:
        return asyncio.run(serve(config, events))
    except (MMEError, OSError) as error:
        console.print(f"The server cannot start: {error}", style="red", markup=False)
        console.print("If the port is taken, choose another with --port; 0 takes a free one.")
        return 1
    finally:
        events.close()


def _load_all(facts: dict[str, Any], config: ServingConfig, directory: Path, folder: Path) -> None:
    """Load every model in *directory*, now that the server is ready."""
    url = routes.origin(config.host, facts["port"])
    console.print(
        f"TensorFlow {facts['tensorflow']} at {url}, memory limit: "
        + ("none" if config.memory_bytes is None else f"{config.memory_bytes / 2**20:g} MiB by {facts['enforcement']}")
    )
    client = ContractClient(url)
    found = [path for path in sorted(directory.iterdir()) if path.name.endswith(".tar.gz") or path.is_dir()]
    for path in found:
        name = path.name.removesuffix(".tar.gz")
        try:
            reply = client.load(name, str(_unpacked(path, folder / name)))
            outcome = (
                f"ready at {url}{routes.invoke(name)}" if reply.ok else f"not loaded ({reply.status}): {reply.text}"
            )
        except MMEError as error:
            outcome = f"not loaded: {error}"
        show_line(f"  {name}: {outcome}")
    if not found:
        show_line(f"  {directory} has no .tar.gz and no folder; load models with POST {url}{routes.MODELS}")


def _unpacked(path: Path, target: Path) -> Path:
    """Return the folder of a model's versions."""
    if not path.is_dir():
        extract(path, target)
        return target
    if is_saved_model(path):
        target.mkdir()
        (target / "1").symlink_to(path.absolute())
        return target
    if code_in(path) is None:
        versions(path)  # raises `ArchiveError` when there is none
    return path.absolute()
