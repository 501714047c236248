"""A container from its first line to its end, and what it is given: the platform's environment, mounts and limits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from pytest_mme import Event, Models, Run, Server
from pytest_mme.contract import routes
from pytest_mme.errors import ContractError, NoAnswerError, UnavailableError
from pytest_mme.runtimes.base import controls_of
from pytest_mme.runtimes.docker import container_leases
from pytest_mme.waiting import wait_for
from tests.conftest import run_on

Derive = Callable[..., str]

MIB = 2**20
MEMORY_MIB = 700
SERVE = "python3 -m pytest_mme.serving.container serve"


def shell(script: str) -> str:
    """An entry point; what the engine adds to it is left out."""
    return f"ENTRYPOINT {json.dumps(['sh', '-c', script])}"


def reported_by_the_engine(server: Server) -> list[Event]:
    return [event for event in server.timeline if event.source == "engine"]


@pytest.fixture(scope="module")
def run(server_image: str) -> Iterator[Run]:
    with run_on(server_image) as run:
        yield run


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[Server]:
    """One for all tests that only look."""
    with run.server(memory_mib=MEMORY_MIB, env={"AWS_REGION": "eu-central-1", "MINE": "a b\nc"}) as server:
        yield server


@pytest.fixture
def container(server: Server, engine: docker.DockerClient) -> Container:
    running: Any = server.running
    return engine.containers.get(running.container_name)


def in_it(container: Container, *command: str, user: str = "") -> tuple[int, str]:
    """What a command in the container ends with, and says."""
    code, output = container.exec_run(list(command), user=user)
    return code or 0, bytes(output).decode().strip()  # type: ignore[arg-type]  # no stream was asked for


def test_labels_name_the_run_the_owner_and_the_test(
    container: Container, run: Run, request: pytest.FixtureRequest
) -> None:
    labels = container.labels
    assert labels[container_leases.RUN] == str(run.directory)
    assert labels["pytest-mme.owner"] == container_leases._owner()
    assert labels["pytest-mme.worker"] == os.environ.get("PYTEST_XDIST_WORKER", "main")
    assert labels["pytest-mme.test"].startswith(request.node.nodeid.partition("::")[0])


def test_the_models_folder_is_read_only(container: Container, server: Server) -> None:
    for user in ("mme", "root"):
        code, output = in_it(container, "touch", f"{routes.MODELS_FOLDER}/file", user=user)
        assert code
        assert "Read-only file system" in output
    assert not (server.running.models / "file").exists()


def test_swap_is_limited_with_memory(container: Container) -> None:
    limits = container.attrs["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"] == MEMORY_MIB * MIB


def test_the_users_environment_wins(container: Container) -> None:
    assert in_it(container, "printenv", "AWS_REGION") == (0, "eu-central-1")
    assert in_it(container, "printenv", "MINE") == (0, "a b\nc")
    assert in_it(container, "printenv", routes.MULTI_MODEL) == (0, "true")


def test_the_server_is_not_root(container: Container) -> None:
    assert in_it(container, "id", "-un") == (0, "mme")
    assert in_it(container, "stat", "-c", "%U", "/proc/1") == (0, "mme")


def test_the_image_holds_no_compiler(container: Container) -> None:
    found = in_it(container, "sh", "-c", "command -v gcc cc g++ c++ clang tcc ld as pip; true")
    assert found == (0, "")


def test_the_servers_events_are_on_the_timeline(server: Server, run: Run) -> None:
    model = run.models.linear("recorded")
    server.load(model)
    server.invoke(model, [1.0])
    server.unload(model)
    seen = [(event.kind, event.outcome) for event in server.timeline if event.model == "recorded"]
    for kind in ("load", "invoke", "unload"):
        assert seen.count((kind, "ok")) == 2  # as the client saw it, and as the server did


def test_the_health_check_can_be_run_by_hand(engine: docker.DockerClient, server_image: str) -> None:
    container = engine.containers.run(server_image, ["serve"], detach=True, healthcheck={"interval": 300 * 10**6})
    try:

        def healthy() -> bool | None:
            container.reload()
            return container.health == "healthy" or None

        wait_for(healthy, what="a healthy container", timeout_s=60)
    finally:
        container.remove(force=True, v=True)


def test_a_server_that_handles_sigterm_ends_at_once(docker_run: Run) -> None:
    with docker_run.server() as server:
        seconds = controls_of(server.running).stop()
        assert seconds < 10
        stop = reported_by_the_engine(server)[-1]
        assert (stop.kind, stop.outcome, stop.seconds) == ("stop", "ok", seconds)
        assert server.running.gone() == "the container ended with code 0"
        with pytest.raises(NoAnswerError):
            server.ping()


def test_a_server_that_ignores_sigterm_is_killed_after_the_grace(docker_run: Run, derived: Derive) -> None:
    image = derived(shell(f"trap '' TERM; {SERVE}; exit"))
    with docker_run.server(image=image) as server:
        seconds = controls_of(server.running).stop(grace_s=1)
        assert 1 <= seconds < 10
        stop = reported_by_the_engine(server)[-1]
        assert (stop.kind, stop.outcome, stop.seconds) == ("stop", "exit 137", seconds)
        controls_of(server.running).start_again()
        assert server.ping().ok
        controls_of(server.running).stop(grace_s=0)
        assert [event.kind for event in reported_by_the_engine(server)] == ["start", "stop", "restart", "stop"]


def test_every_line_is_logged_also_an_unfinished_last_one(docker_run: Run, derived: Derive) -> None:
    image = derived(
        shell(
            f"echo first line; echo to stderr >&2; {SERVE} & child=$!; trap 'kill $child' TERM; wait $child;"
            " wait $child; echo last line >&2; printf 'and a part'"
        )
    )
    with docker_run.server(image=image) as server:
        assert {"first line", "to stderr"} <= set(server.running.log().splitlines())
        controls_of(server.running).stop()
        assert server.running.log().splitlines()[-2:] in (["last line", "and a part"], ["and a part", "last line"])


def test_a_limit_set_on_a_container_without_one_is_removed_again(docker_run: Run) -> None:
    with docker_run.server() as server:
        running: Any = server.running
        with docker_run.faults(server).squeezed(leave_mib=50) as limit_mib:
            assert running._observed.probe.limit_bytes() == pytest.approx(limit_mib * MIB, abs=4096)
        assert running._observed.probe.limit_bytes() is None


def test_a_limit_that_the_engine_refuses_raises(server: Server) -> None:
    with pytest.raises(UnavailableError, match="Minimum memory limit allowed is"):
        controls_of(server.running).limit_memory(MIB)


def test_tensorflow_reports_exhausted_memory_and_no_process_is_killed(docker_run: Run, mme_models: Models) -> None:
    greedy, modest = mme_models.linear("greedy", allocate_mib=400), mme_models.linear("modest")
    with docker_run.server(memory_mib=200, oom="tensorflow") as server:
        assert server.running.facts["enforcement"] == "allocator budget"
        server.load(modest)
        server.load(greedy)
        with pytest.raises(ContractError, match="OOM when allocating tensor") as refused:
            server.invoke(greedy, [1.0])
        assert refused.value.status == 429
        assert server.invoke(modest, [1.0]) == modest.answer([1.0])
        heavy = mme_models.linear("heavy", weights_mib=300)
        with pytest.raises(ContractError, match="memory") as too_much:
            server.load(heavy)
        assert too_much.value.status == 507
        assert not [event for event in server.timeline if event.kind in ("oom", "crash")]
        assert server.running.gone() is None


def test_a_restarted_server_does_not_find_the_files_of_the_old_one(
    docker_run: Run, engine: docker.DockerClient
) -> None:
    """As on the platform; multi-model-server takes an old file with its pid for a server that runs."""
    model = docker_run.models.linear()
    with docker_run.server() as server:
        running: Any = server.running
        assert in_it(engine.containers.get(running.container_name), "touch", "/tmp/left") == (0, "")
        with docker_run.faults(server).stopped():
            pass
        assert in_it(engine.containers.get(running.container_name), "ls", "/tmp/left")[0]
        server.load(model)
        assert server.invoke(model, [1.0]) == model.answer([1.0])
