"""What a worker does for one invoke, alone in a process: no socket, no other thread.

`python -m bench.in_worker FOLDER TIMES AT_ONCE` takes a request's body and prints the median seconds of the whole and
of its parts, and of the same with the standard library's JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import AT_ONCE, seconds_in_turn
from bench.processes import ROOT
from bench.rig import BODY
from pytest_mme.serving.rest import output_json

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as the zygote's


@dataclasses.dataclass(frozen=True, kw_only=True)
class InWorker:
    """Median seconds of one invoke."""

    predict_s: float
    """Body in, body out: JSON, numpy, TensorFlow."""
    decode_s: float
    """Body in, objects out."""
    run_s: float
    """Arrays in, arrays out."""
    encode_s: float
    """Arrays in, body out."""
    peer_s: float
    """`predict_s` with the standard library's `json`, and lists instead of arrays."""

    @property
    def arrays_s(self) -> float:
        """What is left: objects to arrays, checks."""
        return self.predict_s - self.decode_s - self.run_s - self.encode_s


def measure(directory: Path, times: int, body: bytes = BODY, at_once: int = AT_ONCE) -> InWorker:
    """Measure it in a process of its own: whoever has loaded a model must not fork any more."""
    command = [sys.executable, "-m", "bench.in_worker", str(directory), str(times), str(at_once)]
    environment = {**os.environ, **_ENVIRONMENT}
    done = subprocess.run(command, input=body, cwd=ROOT, env=environment, capture_output=True, check=True, timeout=300)
    return InWorker(**json.loads(done.stdout))


def main(directory: Path, times: int, at_once: int) -> None:
    """Load and measure; ours and the peer take turns."""
    from pytest_mme.libtensorflow.capi import Library
    from pytest_mme.libtensorflow.saved_model import SavedModel
    from pytest_mme.serving.rest import prediction

    body, model = sys.stdin.buffer.read(), SavedModel(Library(), directory)
    spent: defaultdict[str, float] = defaultdict(float)
    calls: list[Mapping[str, float]] = []
    for part, owner, name in (("decode", prediction, "parse"), ("run", model, "run"), ("encode", output_json, "dump")):
        setattr(owner, name, _timed(getattr(owner, name), part, spent))

    def ours() -> None:
        spent.clear()
        prediction.predict(model, body)
        calls.append(spent.copy())

    def peer() -> None:
        with _standard_library():
            prediction.predict(model, body)

    ours_s, peer_s = map(statistics.median, seconds_in_turn(times, ours, peer, at_once=at_once))
    parts = {f"{part}_s": statistics.median(call[part] for call in calls[-times:]) for part in spent}
    print(json.dumps({"predict_s": ours_s, "peer_s": peer_s, **parts}))


def _timed(call: Callable[..., Any], part: str, spent: defaultdict[str, float]) -> Callable[..., Any]:
    """*call*, which adds what it takes to a *part* of *spent*."""

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            spent[part] += time.perf_counter() - start

    return timed


@contextlib.contextmanager
def _standard_library() -> Iterator[None]:
    """JSON by `json`, which knows lists only; all else as it is."""
    from pytest_mme.libtensorflow.tensors import Array
    from pytest_mme.serving.rest import prediction

    usual_elements = output_json.elements

    def elements(name: str, array: Array) -> list[Any]:
        found: list[Any] = usual_elements(name, array) if array.dtype == object else array.tolist()
        return found

    replaced: Sequence[tuple[Any, str, Any]] = (
        (prediction, "parse", json.loads),
        (output_json, "_number", np.ndarray.tolist),
        (output_json, "elements", elements),
        (output_json, "dump", lambda answer: json.dumps(answer).encode()),
    )
    usual = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    _set(replaced)
    try:
        yield
    finally:
        _set(usual)


def _set(attributes: Iterable[tuple[Any, str, Any]]) -> None:
    for owner, name, value in attributes:
        setattr(owner, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
