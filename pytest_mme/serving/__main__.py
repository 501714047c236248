"""`python -m pytest_mme.serving CONFIG EVENTS_FD`: the program that a runtime starts; people use `pytest-mme serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from pytest_mme.errors import UnavailableError
from pytest_mme.serving.config import UNAVAILABLE, ServingConfig
from pytest_mme.serving.logs import JsonFormatter
from pytest_mme.serving.server import EventStream, serve


def main(config: ServingConfig, events_fd: int) -> int:
    """Serve with the settings *config* and write events to *events_fd*; returns the exit status."""
    lines = logging.StreamHandler()
    lines.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    with os.fdopen(events_fd, "wb", buffering=0) as pipe:
        # A whole line at once: other writers of the same log can only write between lines.
        events = EventStream(
            config.name, pipe.write, log=lambda line: os.write(sys.stderr.fileno(), f"{line}\n".encode())
        )
        try:
            return asyncio.run(serve(config, events))
        except (UnavailableError, OSError) as error:
            logging.getLogger("pytest_mme").critical("%s", error)
            return UNAVAILABLE
        finally:
            events.close()


if __name__ == "__main__":
    sys.exit(main(ServingConfig.from_json(sys.argv[1]), int(sys.argv[2])))
