"""What a worker does for one invoke, alone in a process: no socket, no other thread.

`python -m bench.in_worker FOLDER TIMES` prints the median seconds of the whole and of TensorFlow's part.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.processes import ROOT

_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as the zygote's


@dataclasses.dataclass(frozen=True)
class InWorker:
    """Median seconds of one invoke."""

    predict_s: float
    """Body in, body out: JSON, numpy, TensorFlow."""
    run_s: float
    """Arrays in, arrays out."""


def measure(directory: Path, times: int) -> InWorker:
    """Measure it in a process of its own: whoever has loaded a model must not fork any more."""
    command = [sys.executable, "-m", "bench.in_worker", str(directory), str(times)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **_ENVIRONMENT}, capture_output=True, check=True, timeout=60
    )
    return InWorker(**json.loads(done.stdout))


def main(directory: Path, times: int) -> None:
    """Load and measure."""
    from bench.measure import seconds_in_turn
    from bench.rig import BODY
    from pytest_mme.libtensorflow.capi import Library
    from pytest_mme.libtensorflow.saved_model import SavedModel
    from pytest_mme.libtensorflow.tensors import Array
    from pytest_mme.serving.rest import predict

    class TimedModel(SavedModel):
        runs_s: list[float] = []  # noqa: RUF012  one model, one list

        def run(self, inputs: Mapping[str, Array], **options: Any) -> dict[str, Array]:
            start = time.perf_counter()
            outputs = super().run(inputs, **options)
            self.runs_s.append(time.perf_counter() - start)
            return outputs

    model = TimedModel(Library(), directory)
    (predicts_s,) = seconds_in_turn(times, lambda: predict(model, BODY))
    measured = InWorker(statistics.median(predicts_s), statistics.median(model.runs_s[-times:]))
    print(json.dumps(dataclasses.asdict(measured)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
