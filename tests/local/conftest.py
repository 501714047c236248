"""Tests of the embedded server and of endpoints on it: real processes, real HTTP, real TensorFlow."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pytest_mme import Model, Models, Server
from pytest_mme.waiting import wait_for
from tests.foreign.models import ForeignModels
from tests.local.gate import Gate, write_gated_model


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate that the gated model stands before when it is asked for `str(gate.path)`."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def gated(mme_models: Models, tmp_path: Path) -> Model:
    """A model whose every call waits at the gate that it is asked for."""
    return mme_models.archive(write_gated_model(tmp_path / "gated-model"), name=f"gated-{uuid.uuid4().hex[:6]}")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to make calls from."""
    with ThreadPoolExecutor(32) as threads:
        yield threads


@pytest.fixture(scope="session", params=[pytest.param("2.15.1", marks=pytest.mark.versions), "installed"])
def exported(request: pytest.FixtureRequest, foreign: ForeignModels) -> Path:
    """Holds a folder of each model, saved by Keras 2's TensorFlow and by Keras 3's."""
    return foreign.saved_by(request.param)


def worker_of(server: Server, model: Model) -> psutil.Process:
    """The process that holds *model*: the server reported it with the load."""
    loads = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
    return psutil.Process([event.detail["pid"] for event in loads if event.model == model.name][-1])


def wait_until_asked(server: Server, model: Model) -> None:
    """A request has reached the model: its process computes."""
    worker = worker_of(server, model)
    before = worker.cpu_times().user
    wait_for(lambda: worker.cpu_times().user > before + 0.05 or None, what="the request", timeout_s=20)


def process_of(server: Server) -> psutil.Process:
    """The server's own process, the front."""
    return psutil.Process(server.running.facts["pid"])
