"""Lack of memory in a container: what is refused, what the kernel kills, and what each image does then.

Numbers were measured with TensorFlow 2.21: of a limit of 700 MiB the embedded server takes about 80 and a tiny model 15;
Java and an idle multi-model-server take 120 to 150, a tiny model 215.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_mme import Event, Model, Run, Server
from pytest_mme.contract.dialects import CONTRACT
from pytest_mme.errors import ContractError
from pytest_mme.waiting import wait_for
from tests.lacking import lacking


def kernel_kills(server: Server) -> int:
    running: Any = server.running
    return int(running._observed.probe.kills())


def of_kind(server: Server, kind: str) -> list[Event]:
    return [event for event in server.timeline if event.kind == kind]


def test_a_kernel_kill_hits_one_model_and_the_counter_rises_by_one(docker_run: Run) -> None:
    for _ in range(_TRIES):
        if kills_of_one_model(docker_run) == ["greedy"]:
            return
    pytest.fail(f"in {_TRIES} tries the kernel never killed the one that asked for too much, and nobody else")


_TRIES = 5  # one in five has a second victim: the test below


def kills_of_one_model(run: Run) -> list[str | None]:
    """Which models the kernel killed, by the events; as many as it counted itself."""
    calm, greedy = run.models.linear("calm"), run.models.linear("greedy", allocate_mib=1500)
    with run.server(memory_mib=1000) as server:
        for model in (calm, greedy):
            server.load(model)
        before = kernel_kills(server)
        with pytest.raises(ContractError, match="SIGKILL"):
            server.invoke(greedy, [1.0])
        victims = [event.model for event in of_kind(server, "oom")]
        assert len(victims) == kernel_kills(server) - before
    return victims


def test_every_kernel_kill_is_recorded_with_its_model_and_other_models_answer(image_run: Run) -> None:
    """While the victim dies, others may ask for a page: the kernel has been seen to kill a second model 13 ms later."""
    calm, greedy = image_run.models.linear("calm"), image_run.models.linear("greedy", allocate_mib=1500)
    with image_run.server(memory_mib=1000) as server:
        for model in (calm, greedy):
            server.load(model)
        before = kernel_kills(server)
        with pytest.raises(ContractError) as killed:
            server.invoke(greedy, [1.0])
        assert killed.value.status == 500
        victims = [event.model for event in of_kind(server, "oom")]
        assert len(victims) == kernel_kills(server) - before
        assert "greedy" in victims
        assert set(victims) <= {"greedy", "calm"}
        assert server.ping().ok
        if "calm" in victims and server.running.dialect is CONTRACT:
            server.load(calm)
        assert wait_for(lambda: answer(server, calm), what="the other model", timeout_s=60) == calm.answer([1.0])


def answer(server: Server, model: Model) -> Any:
    try:
        return server.invoke(model, [1.0])
    except ContractError:
        return None


def test_the_embedded_server_forgets_a_killed_model_which_can_be_loaded_again(docker_run: Run) -> None:
    greedy = docker_run.models.linear("greedy", allocate_mib=800)
    with docker_run.server(memory_mib=700) as server:
        server.load(greedy)
        with pytest.raises(ContractError):
            server.invoke(greedy, [1.0])
        with pytest.raises(ContractError) as lost:
            server.invoke(greedy, [1.0])
        assert lost.value.status == 404
        server.load(greedy)


def test_multi_model_server_starts_another_worker_by_itself(mms_run: Run) -> None:
    greedy = mms_run.models.linear("greedy", allocate_mib=800)
    with mms_run.server(memory_mib=700) as server:
        server.load(greedy)
        with pytest.raises(ContractError, match="Worker died"):
            server.invoke(greedy, [1.0])

        def new_worker() -> bool | None:
            reply = server.client.invoke(server.identifier(greedy), b"{}", timeout_s=30)
            return reply.status == 400 or None  # it is asked nothing that takes memory

        wait_for(new_worker, what="another worker", timeout_s=60)


def test_a_squeezed_container_runs_out_of_memory_at_the_next_allocation(image_run: Run) -> None:
    calm, greedy = image_run.models.linear("calm"), image_run.models.linear("greedy", allocate_mib=1500)
    with image_run.server(memory_mib=2000) as server:
        server.load(calm)  # where there is a second victim, it is a model, too
        server.load(greedy)
        with image_run.faults(server).squeezed(leave_mib=500), pytest.raises(ContractError):
            server.invoke(greedy, [1.0])
        assert "greedy" in [event.model for event in of_kind(server, "oom")]
        assert server.ping().ok


def test_a_model_that_does_not_fit_gets_507_and_loads_after_an_unload(image_run: Run) -> None:
    models = image_run.models.fleet(8, weights_mib=100)
    with image_run.server(memory_mib=700) as server:
        last = next(model for model in models if refused(server, model))
        assert of_kind(server, "oom") == []
        server.client.unload(server.identifier(last))  # multi-model-server keeps a ghost of it
        server.unload(models[0])
        wait_for(lambda: _loads(server, last), what="room for the model", timeout_s=10)
        assert server.invoke(last, [1.0]) == last.answer([1.0])


def refused(server: Server, model: Model) -> bool:
    try:
        server.load(model)
    except ContractError as error:
        return error.status == 507
    return False


def _loads(server: Server, model: Model) -> bool | None:
    """multi-model-server's unload returns before the memory is free."""
    try:
        server.load(model)
    except ContractError:
        server.client.unload(server.identifier(model))
        return None
    return True


def test_an_endpoint_evicts_and_recovers(image_run: Run) -> None:
    a, b, c = image_run.models.fleet(3, weights_mib=100)
    with image_run.aws() as aws, image_run.endpoint([a, b, c], aws=aws, fits=2) as endpoint:
        for model in (a, b, a, c, b):
            assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
        endpoint.check_evicted(b)
        endpoint.check_evicted(a)


def test_fits_counts_what_tensorflow_allocates_where_that_is_the_limit(docker_run: Run) -> None:
    fleet = docker_run.models.fleet(4, weights_mib=20)
    with docker_run.aws() as aws, docker_run.endpoint(fleet, aws=aws, fits=3, oom="tensorflow") as endpoint:
        for model in fleet[:3]:
            assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
        endpoint.check_resident(*fleet[:3])
        assert endpoint.invoke(fleet[3], [1.0]) == fleet[3].answer([1.0])
        assert [event.model for event in endpoint.timeline if event.kind == "evict"] == [fleet[0].name]


def test_a_load_into_a_squeezed_server_is_507(any_run: Run) -> None:
    small, large = any_run.models.linear("small"), any_run.models.linear("large", weights_mib=400)
    with any_run.server(memory_mib=2000) as server:
        if server.running.facts.get("enforcement") == "sampled private memory":
            lacking("memory is enforced by sampling, not by a cgroup")
        server.load(small)
        with any_run.faults(server).squeezed(leave_mib=300):
            assert refused(server, large)
            server.client.unload(server.identifier(large))  # multi-model-server keeps a ghost of it
        wait_for(lambda: _loads(server, large), what="room for the model", timeout_s=10)
        assert server.invoke(small, [1.0]) == small.answer([1.0])


def test_memory_runs_out_while_a_model_answers(docker_run: Run) -> None:
    """Though it needs none: the kernel takes that model's process and no other. multi-model-server may leave it unanswered."""
    victim, other = docker_run.models.fleet(2)
    with docker_run.server(memory_mib=2000) as server:
        server.load(victim)
        server.load(other)
        with docker_run.faults(server).out_of_memory(victim, at="predict"), pytest.raises(ContractError):
            server.invoke(victim, [1.0])
        assert [event.model for event in of_kind(server, "oom")] == [victim.name]
        assert server.invoke(other, [1.0]) == other.answer([1.0])
