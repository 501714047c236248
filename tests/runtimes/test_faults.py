"""Faults do what they say on every runtime, are undone, and are on the timeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_mme import Event, Faults, Model, Run, Server
from pytest_mme.errors import ContractError, NoAnswerError, UnavailableError
from pytest_mme.waiting import wait_for
from tests.conftest import run_on


@pytest.fixture
def server(any_run: Run) -> Iterator[Server]:
    with any_run.server() as server:
        yield server


@pytest.fixture
def model(any_run: Run, server: Server) -> Model:
    model = any_run.models.linear()
    server.load(model)
    return model


@pytest.fixture
def faults(any_run: Run, server: Server) -> Faults:
    return any_run.faults(server)


def answers(server: Server, model: Model) -> None:
    assert server.invoke(model, [1.0]) == model.answer([1.0])


def pings_quickly(server: Server) -> bool:
    """Whether no relay delays it: of many pings on a busy machine one is quicker than any that waits 0.2 s twice."""
    return any(server.ping().seconds < 0.4 for _ in range(50))


def faults_on(server: Server) -> list[Event]:
    return [event for event in server.timeline if event.kind == "fault"]


def test_a_killed_model_does_not_answer_and_the_server_lives_on(server: Server, model: Model, faults: Faults) -> None:
    faults.kill(model)
    # multi-model-server, once it has seen the death, lets a request wait for the next worker, which takes seconds
    with pytest.raises((ContractError, NoAnswerError)):
        server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}', timeout_s=0.5).expect("invoke")
    server.ping()
    (fault,) = faults_on(server)
    assert (fault.outcome, fault.model) == ("killed", model.name)


def test_a_paused_model_answers_later(server: Server, model: Model, faults: Faults) -> None:
    identifier = server.identifier(model)
    with faults.paused(model), pytest.raises(NoAnswerError):
        server.client.invoke(identifier, b'{"instances": [[1.0]]}', timeout_s=0.5)
    answers(server, model)
    (fault,) = faults_on(server)
    assert fault.outcome == "paused"
    assert fault.seconds is not None
    assert fault.seconds >= 0.5


def test_the_death_of_a_paused_model_is_not_an_error(server: Server, model: Model, faults: Faults) -> None:
    with faults.paused(model):
        faults.kill(model)
    assert [fault.outcome for fault in faults_on(server)] == ["killed", "paused"]


def test_a_model_that_was_never_loaded_has_no_process(any_run: Run, faults: Faults) -> None:
    with pytest.raises(KeyError, match="was never loaded"):
        faults.kill(any_run.models.linear(name="other"))


def test_an_unloaded_model_has_no_process(server: Server, model: Model, faults: Faults) -> None:
    server.unload(model)

    def refused() -> str | None:
        try:
            faults.kill(model)
        except UnavailableError as error:
            return str(error)
        return None

    seen = wait_for(refused, what="the end of its process", timeout_s=20)  # multi-model-server answers before that
    assert "load the model first" in seen


def test_a_stopped_server_comes_back_empty(server: Server, model: Model, faults: Faults) -> None:
    with faults.stopped() as took_s:
        assert took_s < 30
        with pytest.raises(NoAnswerError):
            server.client.ping()
    assert server.ping().ok
    assert server.list() == []
    server.load(model)
    answers(server, model)
    kinds = [event.kind for event in server.timeline if event.source == "engine"]
    assert kinds == ["start", "stop", "restart"]
    assert "crash" not in {event.kind for event in server.timeline}


def test_a_slow_network(server: Server, model: Model, faults: Faults) -> None:
    with faults.slowed(latency_s=0.2):
        assert server.ping().seconds >= 0.4  # there and back
        answers(server, model)
    assert pings_quickly(server)


def test_a_cut_network(server: Server, model: Model, faults: Faults) -> None:
    with faults.cut(), pytest.raises(NoAnswerError) as cut:
        server.ping()
    assert not cut.value.timed_out
    answers(server, model)


def test_a_silent_network(server: Server, model: Model, faults: Faults) -> None:
    with faults.cut(silently=True), pytest.raises(NoAnswerError) as silent:
        server.client.invoke(server.identifier(model), b"{}", timeout_s=0.3)
    assert silent.value.timed_out
    answers(server, model)


@pytest.mark.parametrize("runtime", ["local", pytest.param("server", marks=pytest.mark.containers)])
def test_events_behind_a_cut_network_are_recorded(request: pytest.FixtureRequest, runtime: str) -> None:
    image = None if runtime == "local" else request.getfixturevalue("server_image")
    with run_on(image) as run, run.server() as server:
        model, faults = run.models.linear(), run.faults(server)
        server.load(model)
        with faults.cut(silently=True):
            faults.kill(model)
            crash = wait_for(
                lambda: next((event for event in server.timeline if event.kind == "crash"), None),
                what="the death",
                timeout_s=20,
            )
        assert crash.model == model.name


def test_a_server_that_is_started_again_behind_a_slow_network(server: Server, model: Model, faults: Faults) -> None:
    with faults.slowed(latency_s=0.2):
        with faults.stopped():
            pass
        assert server.ping().seconds >= 0.4
        server.load(model)
    assert pings_quickly(server)
    answers(server, model)


def test_a_network_that_is_slow_and_then_cut(server: Server, faults: Faults) -> None:
    with faults.slowed(latency_s=0.2):
        with faults.cut(), pytest.raises(NoAnswerError):
            server.ping()
        assert server.ping().seconds >= 0.4
    assert pings_quickly(server)


def test_a_fault_is_undone_when_the_test_fails(server: Server, model: Model, faults: Faults) -> None:
    with pytest.raises(ZeroDivisionError), faults.cut(), faults.paused(model):
        raise ZeroDivisionError
    answers(server, model)


def test_one_model_is_slow_and_no_other(any_run: Run, server: Server, model: Model, faults: Faults) -> None:
    slow = any_run.models.linear("slow")
    server.load(slow)
    with faults.slowed(slow, latency_s=0.5):
        for one in (slow, model):
            answers(server, one)
    ours = [event for event in server.timeline if event.kind == "invoke" and event.source == "client"]
    asked = {event.model: event.seconds or 0.0 for event in ours}
    assert asked["slow"] >= 1.0  # there and back
    assert asked[model.name] < asked["slow"]
    (fault,) = faults_on(server)
    assert (fault.model, fault.outcome, fault.detail["latency_s"]) == ("slow", "slowed", 0.5)


def test_faults_leave_no_thread(server: Server, faults: Faults) -> None:
    with faults.slowed(latency_s=0.01):
        server.ping()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("relay")]


def test_an_endpoint_recovers_from_a_kill(any_run: Run) -> None:
    """The platform loads a model again whose process has died; multi-model-server lets one request fail, and starts
    another by itself."""
    model = any_run.models.linear()
    with any_run.aws() as aws, any_run.endpoint([model], aws=aws) as endpoint:
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
        any_run.faults(endpoint).kill(model)

        def answer() -> Any:
            try:
                return endpoint.invoke(model, [1.0])
            except aws.runtime.exceptions.ModelError:
                return None

        assert wait_for(answer, what="an answer after the kill", timeout_s=30) == model.answer([1.0])
