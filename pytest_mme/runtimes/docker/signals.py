"""Acts on the process of one model, from within its container: only there its pid is valid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes import fill_memory
from pytest_mme.runtimes.docker.engine import first_line

if TYPE_CHECKING:
    from docker.models.containers import Container

_FIND = """
if [ -z "$PROCESS" ]; then
    named=$(printenv MODEL | grep -lsFf - /proc/[0-9]*/cmdline | cut -d/ -f3)
    parents=" $(for pid in $named; do cut -d' ' -f4 "/proc/$pid/stat"; done | tr '\\n' ' ') "
    for pid in $named; do
        case "$parents" in *" $pid "*) ;; *) PROCESS="$PROCESS $pid" ;; esac
    done
fi
"""
"""A process is a model's when its command line names the model's id. Of multi-model-server's two it is the child: it
holds the model, and is what the kernel kills."""


_KILL = 'kill -s "$SIGNAL" $PROCESS'
_EXHAUST = 'exec python3 -c "$EXHAUST" $PROCESS "$MOST_MIB"'


def send_signal(container: Container, identifier: str, name: str, *, process: int | None) -> None:
    """Send the signal *name* to the process of a model, or raise `UnavailableError` where there is none.

    *process*: its pid, where the server has reported it.
    """
    _do(container, identifier, _KILL, process, {"SIGNAL": name})


def exhaust_memory(container: Container, identifier: str, most_mib: int, *, process: int | None) -> None:
    """Use up to *most_mib* of memory until the kernel has killed the process; needs a `python3` in the container."""
    source = Path(fill_memory.__file__).read_text()
    _do(container, identifier, _EXHAUST, process, {"EXHAUST": source, "MOST_MIB": str(most_mib)})


def _do(container: Container, identifier: str, script: str, process: int | None, parameters: dict[str, str]) -> None:
    from docker.errors import APIError

    asked = f"the process of model {identifier}"
    environment = {"MODEL": identifier, **parameters, **({"PROCESS": str(process)} if process else {})}
    try:
        code, output = container.exec_run(["sh", "-c", _FIND + script], environment=environment)
    except APIError as error:
        raise UnavailableError(asked, first_line(error), "do it while the container runs") from error
    if code:
        seen = bytes(output).decode(errors="replace").strip()  # type: ignore[arg-type]  # no stream was asked for
        raise UnavailableError(asked, seen, "load the model first")
