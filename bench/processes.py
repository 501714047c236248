"""Programs that serve HTTP for a measurement: started, asked, ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_START_S = 60.0


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that answers HTTP on a port of its own choice."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def started(module: str, *arguments: str) -> Iterator[Program]:
    """`python -m MODULE ARGUMENTS`, handed over once it has reported its port, and killed at the end.

    Raises RuntimeError with what it wrote to its standard error when it ends, or takes too long, before that.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        with process:  # closes its pipes and waits for it
            try:
                yield Program(process.pid, _port(process))
            except ChildProcessError as error:
                errors.seek(0)
                raise RuntimeError(f"{module} {' '.join(arguments)}: {error}\n{errors.read()[-2000:]}") from error
            finally:
                process.kill()


def _port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    alarm = threading.Timer(_START_S, process.kill)
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if not line:
        raise ChildProcessError(f"it ended with code {process.wait()} before it reported its port")
    return int(line)


def end_with_parent() -> None:
    """In the program, first of all: end when whoever started it ends, by whatever kind of end."""
    threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _await_end_of_parent() -> None:
    sys.stdin.buffer.read()  # returns when the other end is closed
    os._exit(0)


def say_port(port: int) -> None:
    """In the program: hand the port to whoever started it."""
    print(port, flush=True)
