"""Faults that are made of nothing but what is there: memory that runs out, a full disk, a model that monopolises."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from pytest_mme import Endpoint, Faults, Models, Run, Server
from pytest_mme.errors import ContractError, UnavailableError
from pytest_mme.waiting import wait_for
from tests.lacking import lacking, needs_compiler
from tests.local.conftest import wait_until_asked

Endpoints = Callable[..., Endpoint]
Servers = Callable[..., Server]
FaultsOn = Callable[[Server | Endpoint], Faults]


@pytest.fixture
def limited(mme_server: Servers) -> Servers:
    """Servers whose memory the kernel limits."""

    def start(**fields: object) -> Server:
        server = mme_server(memory_mib=400, **fields)
        if server.running.facts["cgroup"] is None:
            lacking(f"memory is enforced by {server.running.facts['enforcement']}, not by a cgroup")
        return server

    return start


def faults_on(victim: Endpoint | Server) -> list[str]:
    return [event.outcome for event in victim.timeline if event.kind == "fault"]


def test_memory_runs_out_while_a_model_answers(limited: Servers, mme_models: Models, mme_faults: FaultsOn) -> None:
    victim, other = mme_models.fleet(2)
    server = limited()
    server.load(victim)
    server.load(other)
    with mme_faults(server).out_of_memory(victim, at="predict"):
        assert server.invoke(other, [1.0]) == other.answer([1.0])
        with pytest.raises(ContractError, match="killed for lack of memory"):
            server.invoke(victim, [1.0])
        with pytest.raises(ContractError, match="404"):
            server.invoke(victim, [1.0])
    server.load(victim)
    assert server.invoke(victim, [1.0]) == victim.answer([1.0])
    assert server.invoke(other, [1.0]) == other.answer([1.0])
    (death,) = [event for event in server.timeline if event.kind == "oom"]
    assert death.model == victim.name
    assert faults_on(server) == ["out of memory at predict"]


def test_memory_runs_out_at_each_request_to_an_endpoint(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn
) -> None:
    victim, other = mme_models.fleet(2)
    endpoint = mme_endpoint([victim, other], memory_mib=400)
    if endpoint.running.facts["cgroup"] is None:
        lacking("memory is not enforced by a cgroup")
    endpoint.invoke(victim, [1.0])
    with mme_faults(endpoint).out_of_memory(victim, at="predict"), pytest.raises(ClientError, match="lack of memory"):
        endpoint.invoke(victim, [1.0])
    assert endpoint.invoke(victim, [1.0]) == victim.answer([1.0])
    endpoint.invoke(other, [1.0])
    endpoint.check_recovers(victim, within_s=30, signature="SIGKILL")


def test_memory_runs_out_while_a_model_is_loaded(limited: Servers, mme_models: Models, mme_faults: FaultsOn) -> None:
    victim, other = mme_models.fleet(2, weights_mib=8)
    server = limited()
    with mme_faults(server).out_of_memory(victim, at="load"):
        server.load(other)
        with pytest.raises(ContractError, match="507"):
            server.load(victim)
    server.load(victim)
    assert server.invoke(victim, [1.0]) == victim.answer([1.0])


def test_without_admission_memory_runs_out_at_a_load(
    limited: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    victim = mme_models.linear(weights_mib=8)
    server = limited(admission="none")
    with mme_faults(server).out_of_memory(victim, at="load"), pytest.raises(ContractError, match="lack of memory"):
        server.load(victim)
    server.load(victim)
    assert server.invoke(victim, [1.0]) == victim.answer([1.0])


@needs_compiler
def test_out_of_memory_needs_a_limit_of_the_kernel_and_a_known_moment(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    faults = mme_faults(mme_server(memory_mib=400, oom="tensorflow"))
    with pytest.raises(UnavailableError, match="enforced by"), faults.out_of_memory(mme_models.linear(), at="load"):
        pytest.fail("it was made all the same")
    with pytest.raises(ValueError, match="'load' or at 'predict'"), faults.out_of_memory(mme_models.linear(), at="x"):  # type: ignore[arg-type]
        pytest.fail("it was made all the same")


def test_a_full_disk(mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn) -> None:
    new, there = mme_models.fleet(2)
    endpoint = mme_endpoint([new, there])
    endpoint.invoke(there, [1.0])
    with mme_faults(endpoint).disk_full():
        with pytest.raises(ClientError, match=r"archive is too large .* no space left on device"):
            endpoint.invoke(new, [1.0])
        assert endpoint.invoke(there, [1.0]) == there.answer([1.0])
    assert endpoint.invoke(new, [1.0]) == new.answer([1.0])
    assert faults_on(endpoint) == ["disk full"]


def test_ping_fails(mme_server: Servers, mme_faults: FaultsOn) -> None:
    server = mme_server()
    with mme_faults(server).ping_failing(status=503), pytest.raises(ContractError, match="503"):
        server.ping()
    server.ping()
    assert faults_on(server) == ["ping failing"]


def test_a_model_monopolises(mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn) -> None:
    greedy, modest = mme_models.linear("greedy", busy_ms=20), mme_models.linear("modest")
    endpoint = mme_endpoint([greedy, modest])
    for _ in range(5):
        endpoint.invoke(modest, [1.0])
    endpoint.invoke(greedy, [1.0])
    with mme_faults(endpoint).hogged(greedy, clients=2):
        for _ in range(5):
            assert endpoint.invoke(modest, [1.0]) == modest.answer([1.0])
    (fault,) = [event for event in endpoint.timeline if event.kind == "fault"]
    asked = [event for event in endpoint.timeline if event.kind == "attempt" and event.model == "greedy"]
    assert fault.detail["requests"] == len(asked) - 1 > 0


def test_a_model_that_was_never_loaded_cannot_be_a_hog(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    with pytest.raises(KeyError), mme_faults(mme_server()).hogged(mme_models.linear()):
        pass


def test_chaos_is_survived_and_happens_again(
    mme_endpoint: Endpoints, mme_models: Models, mme_faults: FaultsOn, caplog: pytest.LogCaptureFixture
) -> None:
    models = mme_models.fleet(2)
    endpoint = mme_endpoint(models)
    for model in models:
        endpoint.invoke(model, [1.0])
    with mme_faults(endpoint).chaos(*models, seconds=1, rate=50) as first:
        while len(faults_on(endpoint)) < 2:
            for model in models:
                with contextlib.suppress(ClientError):
                    endpoint.invoke(model, [1.0])
    begins = next(event for event in endpoint.timeline if event.kind == "fault")
    assert (begins.outcome, begins.detail["seed"]) == ("chaos begins", first.seed)
    assert f"--mme-seed={first.seed} makes the same again" in caplog.text
    for model in models:
        with contextlib.suppress(ClientError):  # it meets a death that nobody has seen yet
            endpoint.invoke(model, [1.0])
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    with mme_faults(endpoint).chaos(*models, seconds=1, rate=50, seed=first.seed) as second:
        pass
    assert second == first


def test_faults_of_the_network_end_in_any_order(mme_server: Servers, mme_models: Models, mme_faults: FaultsOn) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    faults = mme_faults(server)
    with contextlib.ExitStack() as first:
        first.enter_context(faults.slowed(latency_s=0.01))
        with faults.ping_failing():
            first.close()
            assert server.invoke(model, [1.0]) == model.answer([1.0])
            assert server.client.ping().status == 500
    assert server.ping().ok
    assert server.invoke(model, [1.0]) == model.answer([1.0])


def test_a_server_is_stopped_once(mme_server: Servers, mme_faults: FaultsOn) -> None:
    server = mme_server()
    with (
        mme_faults(server).stopped(),
        pytest.raises(UnavailableError, match="it is stopped already"),
        mme_faults(server).stopped(),
    ):
        pytest.fail("it was stopped again")
    assert server.ping().ok
    assert faults_on(server) == ["stopped"]


def test_a_request_that_is_under_way_is_slow_and_no_more(
    mme_server: Servers, mme_models: Models, mme_faults: FaultsOn
) -> None:
    server, model = mme_server(), mme_models.linear(busy_ms=300)
    server.load(model)
    with ThreadPoolExecutor(1) as pool:
        with mme_faults(server).slowed(latency_s=0.1):
            asked = pool.submit(server.invoke, model, [1.0])
            wait_until_asked(server, model)
        assert asked.result() == model.answer([1.0])


def test_a_hog_that_is_refused_asks_again(mme_server: Servers, mme_models: Models, mme_faults: FaultsOn) -> None:
    """It is asked as its kind wants it."""
    server, model = mme_server(), mme_models.text()
    server.load(model)

    def answered() -> int:
        return sum(event.outcome == "ok" for event in server.timeline if event.kind == "invoke")

    with mme_faults(server).hogged(model, clients=2):
        wait_for(lambda: answered() or None, what="an answer", timeout_s=20)
        server.unload(model)
        server.load(model)
        before = answered()
        wait_for(lambda: answered() > before + 20 or None, what="more answers", timeout_s=20)


def test_a_fault_that_nobody_ends_is_undone_before_its_server_ends(mme_models: Models) -> None:
    model = mme_models.linear()
    with Run() as run, run.server() as server:
        server.load(model)
        kept = run.faults(server).paused(model)
        kept.__enter__()
        assert [fault.name for fault in server.in_effect] == ["paused"]
    assert server.in_effect == []
    assert [event.outcome for event in server.recording if event.kind == "fault"] == ["paused"]
