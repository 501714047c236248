"""Load a SavedModel in this process, call it by the JSON on standard input, and print the results as JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel


def own_bytes() -> int:
    """Return the anonymous memory: USS contains TensorFlow's libraries, too, while no other process maps them."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024


def peak_bytes() -> int:
    """Return the peak of memory: `ru_maxrss` is inherited from the starting process, here pytest."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def call(model: SavedModel, x: list[Any], signature: str) -> dict[str, Any]:
    """Call with the batch *x*; return the predictions, as a server would send them, and what they cost."""
    batch = np.array(x, object if isinstance(x[0], str) else np.float32)
    wall, cpu = time.perf_counter(), time.process_time()
    outputs = model.run({"x": batch}, signature=signature)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    rows = {name: plain(array.tolist()) for name, array in outputs.items()}
    predictions = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    return {"predictions": predictions, "wall_s": wall_s, "cpu_s": cpu_s}


def race(model: SavedModel, x: list[Any], threads: int, calls: int) -> None:
    """Make *calls* calls in each of *threads* threads that start together."""
    start = threading.Barrier(threads)

    def client() -> None:
        start.wait()
        for _ in range(calls):
            call(model, x, "serving_default")

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()


def watch(model: SavedModel, watched: dict[str, Any]) -> list[tuple[float, int]]:
    """Sample the time since the start of one call and how much larger the process is."""
    idle, samples, start = own_bytes(), [], time.perf_counter()
    client = threading.Thread(target=call, args=(model,), kwargs=watched)
    client.start()
    while client.is_alive():
        samples.append((time.perf_counter() - start, own_bytes() - idle))
    return samples


def main() -> None:
    order = json.load(sys.stdin)
    library = Library(Path(order["tensorflow"])) if "tensorflow" in order else Library()
    before = own_bytes()
    model = SavedModel(library, Path(order["directory"]))
    seen: dict[str, Any] = {"loaded_bytes": own_bytes() - before, "signatures": sorted(model.signatures)}
    for one in order.get("races", ()):
        race(model, **one)
    if watched := order.get("watched"):
        seen["samples"] = watch(model, watched)
    idle, peak = own_bytes(), peak_bytes()
    seen["calls"] = [call(model, **one) for one in order.get("calls", ())]
    seen |= {"kept_bytes": own_bytes() - idle, "peak_bytes": peak_bytes() - peak}
    model.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
