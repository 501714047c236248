"""The peer: a worker that imports TensorFlow in the usual way. One model, one process, HTTP.

`python -m bench.peer FOLDER` serves the SavedModel in FOLDER at the contract's path and prints its port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.processes import Program, end_with_parent, say_port, started


def main(directory: str) -> None:
    """Load, listen, answer."""
    end_with_parent()
    import tensorflow as tf

    signature = tf.saved_model.load(directory).signatures["serving_default"]

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            instances = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
            answer = json.dumps({"predictions": _rows(signature(x=tf.constant(instances)))}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    say_port(server.server_port)
    server.serve_forever()


def _rows(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    columns = {name: tensor.numpy().tolist() for name, tensor in outputs.items()}
    return [dict(zip(columns, map(_text, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@dataclasses.dataclass(frozen=True)
class Peers:
    """What several peers cost, medians."""

    first_answer_s: float
    """From the start of the process."""
    uss_mib: float
    """After that answer, while all of them lived."""


def measure(directories: Sequence[Path], body: bytes) -> Peers:
    """Start a peer for each SavedModel, one after the other; all of them live until the last has answered.

    They share the pages of TensorFlow's libraries, as workers on one machine do: a peer alone would count them as its
    own and look worse than it is.
    """
    from bench.measure import uss_mib

    with contextlib.ExitStack() as living:
        seconds: list[float] = []
        pids: list[int] = []
        for directory in directories:
            start = time.perf_counter()
            program = living.enter_context(started("bench.peer", str(directory)))
            _ask(program, body)
            seconds.append(time.perf_counter() - start)
            pids.append(program.pid)
        return Peers(statistics.median(seconds), statistics.median(map(uss_mib, pids)))


def _ask(program: Program, body: bytes) -> None:
    from pytest_mme.contract.client import ContractClient

    client = ContractClient(program.url)
    client.invoke("model", body).expect("the peer's first answer")
    client.close()


if __name__ == "__main__":
    main(sys.argv[1])
