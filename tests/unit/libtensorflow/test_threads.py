"""Many threads, one model: the GIL is free during a run, results do not mix, and `close` waits for runs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load

FOREVER_US = 30 * 10**6  # long beside any test, yet one that cancels nothing ends by itself


def sleep_in_tensorflow(model: SavedModel, us: int, **keywords: Any) -> None:
    model.run({"us": np.int64(us)}, **keywords)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """When *call* began and ended, in seconds."""
    began = time.perf_counter()
    call()
    return began, time.perf_counter()


def begin_forever(model: SavedModel, pool: ThreadPoolExecutor) -> Future[None]:
    """A run that ends only with its model; returns once it holds the model."""
    running = model._running
    future = pool.submit(sleep_in_tensorflow, model, FOREVER_US)
    while model._running == running:
        assert not future.done(), future.result()
    return future


def test_other_python_threads_run_during_a_run(load: Load) -> None:
    model = load(graphs.sleeping())
    # On a busy machine the other thread may get no core during one run; if the GIL were held, it would in none.
    assert any(python_went_on_during_a_run(model) for _ in range(20))


def python_went_on_during_a_run(model: SavedModel) -> bool:
    ticks, ended = [0.0], threading.Event()

    def tick() -> None:
        while not ended.is_set():
            ticks.append(time.perf_counter())

    with ThreadPoolExecutor() as pool:
        ticking = pool.submit(tick)
        began, end = timed(lambda: sleep_in_tensorflow(model, 100_000))
        ended.set()
        ticking.result()
    quarter = (end - began) / 4
    return any(began + quarter < at < end - quarter for at in ticks)


def test_runs_of_several_threads_overlap(load: Load) -> None:
    threads = 8
    config = protos.ConfigProto(inter_op_parallelism_threads=threads, use_per_session_threads=True)
    model = load(graphs.sleeping(), config=config.SerializeToString())

    def all_at_once() -> float:
        """How long so many runs take together that sleep for a tenth of a second each."""
        with ThreadPoolExecutor(threads) as pool:
            began, end = timed(lambda: list(pool.map(lambda _: sleep_in_tensorflow(model, 100_000), range(threads))))
        return end - began

    # One after the other they take at least so long, each time; together less, if not each time on a busy machine.
    assert any(all_at_once() < threads * 0.1 for _ in range(20))


@pytest.mark.parametrize("dtype", ["DT_INT64", "DT_STRING"])
def test_results_of_concurrent_runs_do_not_mix(load: Load, dtype: str) -> None:
    model, threads, runs = load(graphs.identity(dtype)), 8, 500

    def ask(thread: int) -> int:
        right = 0
        for run in range(runs):
            asked: Any = np.full(1 + run % 7, thread * runs + run)
            asked = asked if dtype == "DT_INT64" else np.array([b"%d" % value * 9 for value in asked], object)
            right += bool((model.run({"x": asked})["y"] == asked).all())
        return right

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(ask, range(threads))) == [runs] * threads
    assert not model._strings._held


def test_a_run_ends_at_its_timeout_and_the_next_one_runs(load: Load) -> None:
    model = load(graphs.sleeping())
    with pytest.raises(TensorFlowError) as caught:
        sleep_in_tensorflow(model, FOREVER_US, timeout_ms=20)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    sleep_in_tensorflow(model, 1, timeout_ms=60_000)


@pytest.mark.parametrize("runs", [1, 3])
def test_close_cancels_a_run_and_waits_for_it(
    load: Load, library: Library, monkeypatch: pytest.MonkeyPatch, runs: int
) -> None:
    model, seen = load(graphs.sleeping()), list[str]()
    for name in ("TF_SessionRun", "TF_DeleteSession"):
        monkeypatch.setattr(library, name, _noting(getattr(library, name), f"{name} returned", seen))
    with ThreadPoolExecutor() as pool:
        running = [begin_forever(model, pool) for _ in range(runs)]
        closing = [pool.submit(model.close) for _ in range(2)]
        for future in closing:
            future.result()
            assert seen == ["TF_SessionRun returned"] * runs + ["TF_DeleteSession returned"]
        codes = [error.code for future in running if isinstance(error := future.exception(), TensorFlowError)]
    assert codes == ["CANCELLED"] * runs


def _noting(call: Callable[..., Any], words: str, seen: list[str]) -> Callable[..., Any]:
    def noting(*arguments: Any) -> Any:
        result = call(*arguments)
        seen.append(words)
        return result

    return noting


def test_a_closed_model_refuses_to_run(load: Load) -> None:
    model = load(graphs.identity())
    model.close()
    model.close()
    with pytest.raises(ValueError, match="this SavedModel is closed"):
        model.run({"x": np.ones(1, np.float32)})
    assert set(model.signatures) == {"serving_default"}


def test_a_dropped_model_is_freed(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # what other tests have left
    freed = list[str]()
    for name in ("TF_DeleteSession", "TF_DeleteGraph"):
        monkeypatch.setattr(library, name, _noting(getattr(library, name), name, freed))
    model = SavedModel(library, graphs.keeping().write(tmp_path))
    model.run({"x": np.array([b"kept by the graph"], object)}, signature="keep")
    del model
    gc.collect()
    assert freed == ["TF_DeleteSession", "TF_DeleteGraph"]


def test_a_model_that_failed_to_load_is_freed(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # what other tests have left
    freed = list[str]()
    monkeypatch.setattr(library, "TF_DeleteGraph", _noting(library.TF_DeleteGraph, "graph", freed))
    with pytest.raises(TensorFlowError):
        SavedModel(library, tmp_path)
    gc.collect()
    assert freed == ["graph"]
