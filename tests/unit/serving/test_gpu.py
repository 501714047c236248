"""Choosing a GPU, with a fake of NVIDIA's library; tests/gpu uses the real one on machines with a GPU."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pytest_mme import Models, Run
from pytest_mme.archives.archive import extract
from pytest_mme.errors import ServerStartError, TensorFlowError, UnavailableError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving.memory import gpu
from pytest_mme.serving.memory.gpu import Gpu
from pytest_mme.serving.processes.child_config import ChildConfig
from pytest_mme.serving.processes.worker import Worker

NAMES = ("GPU-aaaa", "GPU-bbbb", "GPU-bbcc")


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """NVIDIA's library on a machine with three GPUs."""
    played = ModuleType("pynvml")
    vars(played).update(
        NVMLError=type("NVMLError", (Exception,), {}),
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(NAMES),
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetUUID=lambda handle: NAMES[handle],
        nvmlDeviceGetName=lambda handle: f"H{handle}".encode(),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=handle + 1, total=10),
    )
    monkeypatch.setitem(sys.modules, "pynvml", played)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return played


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize(
    ("visible", "number", "uuid"),
    [
        (None, 0, "GPU-aaaa"),
        (None, 2, "GPU-bbcc"),
        ("2,0", 0, "GPU-bbcc"),
        ("2, 0", 1, "GPU-aaaa"),
        ("GPU-bbbb", 0, "GPU-bbbb"),
        ("GPU-bb", 0, "GPU-bbbb"),
        ("1,-1,0", 0, "GPU-bbbb"),
    ],
)
def test_a_gpu_has_its_number_among_the_visible_ones(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, number: int, uuid: str
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Gpu(number).uuid == uuid


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize(("visible", "number"), [(None, 3), ("", 0), ("-1", 0), ("7", 0), ("1,-1,0", 1), ("MIG-1", 0)])
def test_a_gpu_that_is_not_visible_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, number: int
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UnavailableError, match=f"gpu {number} was asked for, . are visible"):
        Gpu(number)


@pytest.mark.usefixtures("nvidia")
def test_a_gpu_reports_its_name_and_memory() -> None:
    assert Gpu(1).name == "H1"
    assert Gpu(1).memory() == {"gpu_used_bytes": 2, "gpu_total_bytes": 10}


@pytest.mark.usefixtures("nvidia")
def test_auto_is_the_gpu_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.settle("auto") == "gpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.settle("auto") == "cpu"
    assert gpu.settle("gpu") == "gpu"


def test_without_nvidias_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnavailableError, match=r"pip install 'pytest-mme\[gpu\]'"):
        Gpu()


def test_without_a_driver_a_gpu_server_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine with a GPU shows none
    with (
        Run() as run,
        pytest.raises(ServerStartError, match='device="gpu" cannot be had here'),
        run.server(device="gpu"),
    ):
        raise AssertionError("it started")


def test_a_model_is_not_loaded_when_tensorflow_sees_no_gpu(
    library: Library, mme_models: Models, tmp_path: Path
) -> None:
    extract(mme_models.linear().archive, tmp_path / "model")
    if "GPU" in SavedModel(library, tmp_path / "model" / "1").device_types():
        pytest.skip("this machine has a GPU")
    ours, theirs = socket.socketpair()
    worker = Worker(ChildConfig(token=0, gpu=True), ours, library)
    with ours, theirs, pytest.raises(TensorFlowError, match=r"TensorFlow sees no GPU: .*pip install"):
        worker._load(tmp_path / "model")


@pytest.mark.parametrize("fraction", [None, 0.25])
def test_a_gpu_worker_grows_with_its_need_or_takes_a_fraction(library: Library, fraction: float | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(ChildConfig(token=0, gpu=True, gpu_memory_fraction=fraction), ours, library)
        options = protos.ConfigProto.FromString(worker._session_config()).gpu_options
    assert options.allow_growth is (fraction is None)
    assert options.per_process_gpu_memory_fraction == (fraction or 0.0)
