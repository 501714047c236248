"""share="run": one container for all who want the same."""

from __future__ import annotations

import docker
import pytest

from pytest_mme import Run
from pytest_mme.errors import UnavailableError
from tests.runtimes.test_docker import containers_of


def test_two_servers_share_a_container_and_not_their_models(docker_run: Run, engine: docker.DockerClient) -> None:
    model = docker_run.models.linear()
    with docker_run.server(share="run") as first, docker_run.server(share="run") as second:
        assert len(containers_of(engine, docker_run)) == 1
        first.load(model)
        second.load(model)
        assert len(second.list()) == 2
        assert first.invoke(model, [1.0]) == second.invoke(model, [1.0]) == model.answer([1.0])
        for server in (first, second):
            loads = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
            assert [event.model for event in loads] == [model.name]


def test_a_tests_models_are_unloaded_at_its_end(docker_run: Run) -> None:
    model = docker_run.models.linear()
    with docker_run.server(share="run") as stays:
        with docker_run.server(share="run") as goes:
            goes.load(model)
        assert stays.list() == []
        assert list(stays.running.models.iterdir()) == []


def test_another_specification_has_another_container(docker_run: Run, engine: docker.DockerClient) -> None:
    with docker_run.server(share="run"), docker_run.server(share="run", memory_mib=500):
        assert len(containers_of(engine, docker_run)) == 2


def test_a_container_that_has_ended_is_replaced(docker_run: Run, engine: docker.DockerClient) -> None:
    with docker_run.server(share="run"):
        (name,) = containers_of(engine, docker_run)
    engine.containers.get(name).kill()
    with docker_run.server(share="run") as server:
        server.ping()


def test_the_run_removes_a_shared_container_at_its_end(docker_run: Run, engine: docker.DockerClient) -> None:
    with docker_run.server(share="run"):
        pass
    assert len(containers_of(engine, docker_run)) == 1
    docker_run.close()
    assert containers_of(engine, docker_run) == []


def test_a_shared_container_cannot_be_stopped_or_squeezed(docker_run: Run) -> None:
    with docker_run.server(share="run") as server:
        faults = docker_run.faults(server)
        with pytest.raises(UnavailableError, match="others use it"), faults.stopped():
            pass
        with pytest.raises(UnavailableError, match="others use it"), faults.squeezed():
            pass
        server.ping()


def test_xdist_workers_share_a_container(
    pytester: pytest.Pytester, server_image: str, engine: docker.DockerClient
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_one(mme_server, mme_models, number):
            model = mme_models.linear(name=f"model-{number}")
            server = mme_server(share="run")
            server.load(model)
            assert server.invoke(model, [1.0]) == model.answer([1.0])
            print("in", server.running.container_name)
        """
    )
    options = ("-n2", "-rP", "--mme-runtime=docker", f"--mme-image={server_image}")
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(passed=4)
    lines = {line for line in result.outlines if line.startswith("in mme-")}
    assert len(lines) == 1
    (name,) = (line.removeprefix("in ") for line in lines)
    with pytest.raises(docker.errors.NotFound):
        engine.containers.get(name)
