"""Nothing is leaked, and nothing is freed that the graph still holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.capi import Library
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import InProcess, Load

# Prints the private memory in bytes after each of three equal parts of the runs. The first part is the warm-up.
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, psutil
from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel

directory, runs, expression = sys.argv[1:]
model = SavedModel(Library(), Path(directory))
x = eval(expression)
used = []
for part in range(3):
    for _ in range(int(runs) // 3):
        try:
            model.run({"x": x})
        except TypeError:
            pass
    used.append(psutil.Process().memory_full_info().uss)
print(json.dumps(used))
"""


@pytest.mark.parametrize(
    ("dtype", "runs", "array"),
    [
        ("DT_FLOAT", 20_000, "np.ones(2, np.float32)"),
        ("DT_STRING", 20_000, "np.array([b'short', b'one that is not kept inline'], object)"),
        ("DT_STRING", 2_000, "np.array([b'x' * 100_000], object)"),
        ("DT_STRING", 20_000, "np.array([b'x' * 100, 5], object)"),
    ],
    ids=["numbers", "short strings", "100 kB strings", "refused"],
)
def test_runs_leak_no_memory(in_process: InProcess, tmp_path: Path, dtype: str, runs: int, array: str) -> None:
    directory = graphs.identity(dtype).write(tmp_path)
    _, before, after = json.loads(in_process(MEASURE, directory, runs, array))
    assert after - before < 160 * 2**10  # seen: 60 kB; the smallest leak, a status a run, would be 210 kB


def test_strings_that_the_graph_keeps_stay_valid(load: Load) -> None:
    model = load(graphs.keeping())
    kept = np.array([b"", b"short", b"x" * 23, b"y" * 100_000], object)
    model.run({"x": kept}, signature="keep")
    for _ in range(50):
        assert model.run({}, signature="kept")["y"].tolist() == kept.tolist()
    assert len(model._strings._held) == 1
    model.run({"x": np.array([b"z" * 100_000], object)}, signature="keep")
    assert model.run({}, signature="kept")["y"].tolist() == [b"z" * 100_000]
    assert len(model._strings._held) == 1
    model.close()
    assert not model._strings._held


def test_an_input_that_cannot_be_allocated_is_resource_exhausted(
    load: Load, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(graphs.identity())
    with monkeypatch.context() as patch:
        patch.setattr(library, "TF_TensorData", lambda _handle: None)
        with pytest.raises(TensorFlowError, match="could not allocate an input of 8 bytes") as caught:
            model.run({"x": np.ones(2, np.float32)})
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert model.run({"x": np.ones(2, np.float32)})["y"].tolist() == [1, 1]
