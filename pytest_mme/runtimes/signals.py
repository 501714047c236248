"""Sends a signal to the process of one model, from within its container: no other number for a process holds there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.engine import first_line

if TYPE_CHECKING:
    from docker.models.containers import Container

_SCRIPT = """
if [ -z "$PROCESS" ]; then
    named=$(printenv MODEL | grep -lsFf - /proc/[0-9]*/cmdline | cut -d/ -f3)
    parents=" $(for pid in $named; do cut -d' ' -f4 "/proc/$pid/stat"; done | tr '\\n' ' ') "
    for pid in $named; do
        case "$parents" in *" $pid "*) ;; *) PROCESS="$PROCESS $pid" ;; esac
    done
fi
kill -s "$SIGNAL" $PROCESS
"""
"""A process is a model's when its command line names the model's id. Of multi-model-server's two it is the child: it
holds the model, and is what the kernel kills."""


def send_signal(container: Container, identifier: str, name: str, *, process: int | None) -> None:
    """*process*: the model's, where the server has told it; raises `UnavailableError` where there is none."""
    from docker.errors import APIError

    asked = f"the process of model {identifier}"
    environment = {"MODEL": identifier, "SIGNAL": name, **({"PROCESS": str(process)} if process else {})}
    try:
        code, said = container.exec_run(["sh", "-c", _SCRIPT], environment=environment)
    except APIError as error:
        raise UnavailableError(asked, first_line(error), "do it while the container runs") from error
    if code:
        seen = bytes(said).decode(errors="replace").strip()  # type: ignore[arg-type]  # no stream was asked for
        raise UnavailableError(asked, seen, "load the model first")
