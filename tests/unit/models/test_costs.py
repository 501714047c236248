"""A model costs what its specification says, as the operating system measures it."""

from __future__ import annotations

import pytest

from pytest_mme.models.builder import Models
from tests.unit.models.conftest import Run, ask

MIB = 1 << 20
EXACT = {"TF_ENABLE_ONEDNN_OPTS": "0"}  # with oneDNN TensorFlow's allocator rounds up and keeps what was freed


@pytest.mark.parametrize("mib", [8, 64])  # TensorFlow's optimiser computes constants of up to 10 MiB beforehand
def test_weights_are_in_memory_once_after_the_load(models: Models, run_model: Run, mib: int) -> None:
    light, heavy = models.linear("light", weights_mib=1), models.linear("heavy", weights_mib=1 + mib)
    light_bytes, heavy_bytes = (run_model(model, environment=EXACT)["loaded_bytes"] for model in (light, heavy))
    assert (mib - 1) * MIB <= heavy_bytes - light_bytes < 1.5 * mib * MIB


def test_weights_take_no_space_in_the_archive(models: Models) -> None:
    assert models.linear(weights_mib=1000).archive.stat().st_size < 2000


def test_allocate_mib_is_held_during_the_call_and_then_freed(models: Models, run_model: Run) -> None:
    seen = run_model(models.linear(allocate_mib=96), calls=[ask([1.0])], environment=EXACT)
    assert seen["peak_bytes"] >= 90 * MIB  # the peak of the load itself may have been a little above the idle process
    assert seen["kept_bytes"] < 48 * MIB


def test_allocate_mib_is_held_while_the_call_waits(models: Models, run_model: Run) -> None:
    model = models.linear(allocate_mib=64, sleep_ms=600)
    samples = run_model(model, watched=ask([1.0]), environment=EXACT)["samples"]
    held = [at_s for at_s, size in samples if size >= 60 * MIB]
    assert held[-1] >= 0.4  # it is filled in 0.02 s, and then the call sleeps


@pytest.mark.parametrize("batch", [1, 64])
def test_busy_ms_burns_cpu_once_per_call(models: Models, run_model: Run, batch: int) -> None:
    model = models.linear(busy_ms=400)
    _, call = run_model(model, calls=[ask([1.0]), ask(*[[1.0]] * batch)])["calls"]
    assert call["wall_s"] >= 0.4
    assert call["cpu_s"] >= 0.04  # all of it on an idle machine, a tenth where nine others want the core, too
    assert call["cpu_s"] < 64 * 0.4
    assert call["predictions"] == [model.answer([1.0])] * batch


@pytest.mark.parametrize("batch", [1, 64])
def test_sleep_ms_waits_once_per_call_without_the_cpu(models: Models, run_model: Run, batch: int) -> None:
    model = models.linear(sleep_ms=200)
    _, call = run_model(model, calls=[ask([1.0]), ask(*[[1.0]] * batch)])["calls"]
    assert 0.2 <= call["wall_s"] < 64 * 0.2
    assert call["cpu_s"] < 0.04  # it takes 1 ms
    assert call["predictions"] == [model.answer([1.0])] * batch


def test_costs_add_up(models: Models, run_model: Run) -> None:
    model = models.linear(busy_ms=100, sleep_ms=100, allocate_mib=32, weights_mib=32)
    seen = run_model(model, calls=[ask([1.0])], environment=EXACT)
    (call,) = seen["calls"]
    assert call["wall_s"] >= 0.2
    assert seen["loaded_bytes"] >= 32 * MIB
    assert seen["peak_bytes"] >= 28 * MIB
    assert call["predictions"] == [model.answer([1.0])]
