"""Loads one SavedModel in this process, calls it as standard input orders, and prints what was seen, both as JSON."""

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
    """Anonymous memory: not USS, of which TensorFlow's libraries are a part for as long as nobody else maps them."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024


def peak_bytes() -> int:
    """Not `ru_maxrss`, which a process inherits from the one that started it: here pytest's own size."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def call(model: SavedModel, x: list[Any], signature: str) -> dict[str, Any]:
    """One call with the batch *x*: the instances' predictions, as a server would send them, and what they cost."""
    batch = np.array(x, object if isinstance(x[0], str) else np.float32)
    wall, cpu = time.perf_counter(), time.process_time()
    outputs = model.run({"x": batch}, signature=signature)
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    rows = {name: plain(array.tolist()) for name, array in outputs.items()}
    predictions = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    return {"predictions": predictions, "wall_s": wall_s, "cpu_s": cpu_s}


def race(model: SavedModel, x: list[Any], threads: int, calls: int) -> None:
    """*calls* calls in each of *threads* threads that start together."""
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
    """How much larger the process was, and how long after the start, while it answered one call."""
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
