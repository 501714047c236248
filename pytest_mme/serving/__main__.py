"""`python -m pytest_mme.serving CONFIG EVENTS_FD`: what a runtime starts. People use `pytest-mme serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.server import EventStream, serve


def main(config: ServingConfig, events_fd: int) -> int:
    """Serve as *config* says and write events to *events_fd*; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with os.fdopen(events_fd, "wb", buffering=0) as pipe:
        events = EventStream(config.name, pipe.write)
        try:
            return asyncio.run(serve(config, events))
        finally:
            events.close()


if __name__ == "__main__":
    sys.exit(main(ServingConfig.from_json(sys.argv[1]), int(sys.argv[2])))
