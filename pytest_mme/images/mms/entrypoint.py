"""`IMAGE serve` starts multi-model-server as AWS's bring-your-own example does; it runs any other command instead.

Source: github.com/aws/amazon-sagemaker-examples, multi_model_bring_your_own, container/dockerd-entrypoint.py.
"""

from __future__ import annotations

import os
import signal
import sys

_HANDLER = "handler:handle"


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM, or become the command that *arguments* are."""
    if arguments != ["serve"]:
        os.execvp(arguments[0], arguments)  # noqa: S606, RUF100
    # The first process of a container ignores SIGTERM unless it asks for it, and the toolkit asks only once Java runs.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    from sagemaker_inference import model_server

    model_server.start_model_server(handler_service=_HANDLER)


if __name__ == "__main__":
    main(sys.argv[1:])
