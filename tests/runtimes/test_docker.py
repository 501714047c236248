"""The container runtime, from the image to the last request."""

from __future__ import annotations

import docker

from pytest_mme import Run
from pytest_mme.runtimes.docker.container_leases import RUN


def containers_of(engine: docker.DockerClient, run: Run) -> list[str]:
    return [
        str(one.name)
        for one in engine.containers.list(all=True, filters={"label": f"{RUN}={run.directory}"}, ignore_removed=True)
    ]


def test_a_container_loads_a_model_answers_and_is_removed(docker_run: Run, engine: docker.DockerClient) -> None:
    model = docker_run.models.linear()
    with docker_run.server() as server:
        assert len(containers_of(engine, docker_run)) == 1
        server.load(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])
        server.unload(model)
        kinds = [event.kind for event in server.timeline if event.source != "client"]
    assert containers_of(engine, docker_run) == []
    assert {"start", "load", "invoke", "unload"} <= set(kinds)
