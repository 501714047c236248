"""`python -m pytest_mme.serving CONFIG`: what a runtime starts. People use `pytest-mme serve`."""

from __future__ import annotations

import asyncio
import logging
import sys

from pytest_mme.serving.config import ServingConfig
from pytest_mme.serving.server import EventStream, serve


def main(config: ServingConfig) -> int:
    """Serve as *config* says; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    events = EventStream(config)
    try:
        return asyncio.run(serve(config, events))
    finally:
        events.close()


if __name__ == "__main__":
    sys.exit(main(ServingConfig.from_json(sys.argv[1])))
