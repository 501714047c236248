"""`IMAGE serve`: the embedded server as SageMaker starts a container.

Port and mode come from the environment as the platform sets it (AWS, "Use Your Own Inference Code with Hosting
Services"); the kit's own settings come as JSON in `PYTEST_MME_SERVING`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_mme.contract import routes
from pytest_mme.serving.__main__ import main
from pytest_mme.serving.config import ServingConfig

SETTINGS = "PYTEST_MME_SERVING"
"""Fields of `ServingConfig` as JSON."""
EVENTS = "PYTEST_MME_EVENTS"
"""`stdout`: write the server's events there, a JSON line each; unset: only the log has them."""

_PORT = "8080"
_SHARED_CODE = Path("/opt/ml/code")
_MISUSED = 64  # EX_USAGE of sysexits.h


def config(environment: Mapping[str, str], *, shared_code: Path = _SHARED_CODE) -> ServingConfig:
    """The settings that the environment holds; raises ValueError with a message when they are invalid."""
    port = environment.get(routes.BIND_TO_PORT) or _PORT
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{routes.BIND_TO_PORT} is {port!r}: give a port, 1 to 65535")
    fields = {
        "host": "0.0.0.0",  # noqa: S104, RUF100  the container's own network: the engine decides who reaches it
        "port": int(port),
        "enforcement": "container",
        "tensorflow": environment.get("PYTEST_MME_TENSORFLOW"),
        "code": str(shared_code) if (shared_code / "inference.py").exists() else None,
    }
    try:
        return ServingConfig(**fields | json.loads(environment.get(SETTINGS) or "{}"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{SETTINGS} does not hold a server's settings: {error}") from error


def _complain(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return _MISUSED


def serve(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM; the exit status."""
    if arguments != ["serve"]:
        return _complain(f"this image has one command, serve; it was given: {' '.join(arguments) or 'nothing'}")
    if environment.get(routes.MULTI_MODEL, "true").lower() != "true":
        return _complain(f"{routes.MULTI_MODEL} is {environment[routes.MULTI_MODEL]!r}: this server holds many models")
    try:
        settings = config(environment)
    except ValueError as error:
        return _complain(str(error))
    to_stdout = environment.get(EVENTS) == "stdout"
    descriptor = os.dup(1) if to_stdout else os.open(os.devnull, os.O_WRONLY)
    os.dup2(2, 1)  # from here on everything else that is printed, also by user code, goes to stderr
    return main(settings, descriptor)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], os.environ))
