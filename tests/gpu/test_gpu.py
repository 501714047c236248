"""Models on a GPU: where they run, what they take of its memory, and what happens when that is full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_mme import Endpoint, Models, Server
from pytest_mme.serving.memory.gpu import Gpu

Servers = Callable[..., Server]
MIB = 1 << 20

pytestmark = pytest.mark.mme(device="gpu")


def used(server: Server) -> int:
    return int(server.client.memory().json()["gpu_used_bytes"])


def test_a_model_on_the_gpu_answers_right(mme_server: Servers, mme_models: Models, gpu: Gpu) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    assert server.invoke(model, [1.0, 2.0]) == model.answer([1.0, 2.0])
    assert server.running.facts["device"] == f"gpu {gpu.name}"


def test_the_gpus_memory_is_sampled(mme_server: Servers, mme_models: Models, gpu: Gpu) -> None:
    server, model = mme_server(), mme_models.linear()
    before = used(server)
    server.load(model)
    server.invoke(model, [1.0])
    assert used(server) > before
    samples = [event.detail for event in server.timeline if event.kind == "sample"]
    assert samples
    assert all(sample["gpu_total_bytes"] == gpu.memory()["gpu_total_bytes"] for sample in samples)


def test_a_worker_takes_what_it_needs_or_its_fraction(mme_server: Servers, mme_models: Models, gpu: Gpu) -> None:
    total, model = gpu.memory()["gpu_total_bytes"], mme_models.linear()
    growing, greedy = mme_server(), mme_server(gpu_memory_fraction=0.25)
    taken = []
    for server in (growing, greedy):
        before = used(server)
        server.load(model)
        server.invoke(model, [1.0])
        taken.append(used(server) - before)
        server.unload(model)
    assert taken[0] < total // 10
    assert taken[1] > total // 5


def test_a_full_gpu_is_507_and_the_model_answers_again(mme_server: Servers, mme_models: Models, gpu: Gpu) -> None:
    fraction = 256 * MIB / gpu.memory()["gpu_total_bytes"]
    server, model = mme_server(gpu_memory_fraction=max(fraction, 0.001)), mme_models.linear(allocate_mib=4096)
    server.load(model)
    reply = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}')
    assert reply.status == 507
    assert "OOM when allocating" in reply.json()["error"]
    assert server.ping().ok


@pytest.mark.usefixtures("gpu")
def test_an_endpoint_on_the_gpu(mme_endpoint: Callable[..., Endpoint], mme_models: Models) -> None:
    models = mme_models.fleet(2)
    endpoint = mme_endpoint(models)
    for model in models:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    endpoint.check_answers()
