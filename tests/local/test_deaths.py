"""Who notices when a process dies, and what is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_mme import Event, Model, Models, Run, Server, Settings
from pytest_mme.archives.archive import extract
from pytest_mme.errors import ContractError, NoAnswerError
from pytest_mme.waiting import wait_for
from tests.local.conftest import process_of, worker_of
from tests.local.gate import Gate
from tests.processes import survivors

Servers = Callable[..., Server]


def test_a_killed_worker_ends_no_other_model(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    victim, other = mme_models.fleet(2)
    server.load(victim)
    server.load(other)
    worker_of(server, victim).kill()
    crash = wait_for(lambda: _event(server, "crash"), what="the crash", timeout_s=10)
    assert (crash.model, crash.outcome, crash.detail["code"]) == (victim.name, "SIGKILL", -9)
    with pytest.raises(ContractError, match=r"is not loaded: its worker ended \(SIGKILL\)"):
        server.invoke(victim, [1.0])
    assert server.ping().ok
    assert server.invoke(other, [1.0]) == other.answer([1.0])
    server.check_resident(other)
    server.load(victim)
    assert server.invoke(victim, [1.0]) == victim.answer([1.0])
    server.check_resident(victim, other)


def _event(server: Server, kind: str) -> Event | None:
    return next((event for event in server.timeline if event.kind == kind), None)


def test_a_request_in_flight_gets_an_error_when_its_worker_dies(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    body = b'{"instances": ["%s"]}' % str(gate.path).encode()
    asked = pool.submit(server.client.invoke, server.identifier(gated), body)
    with gate.held():
        worker_of(server, gated).send_signal(signal.SIGSEGV)
        answer = asked.result()
    assert answer.status == 500
    assert "its worker ended (SIGSEGV); load it again" in answer.json()["error"]


def test_the_death_of_the_zygote_ends_the_server_with_an_error(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    server.invoke(model, [1.0])
    front, worker = process_of(server), worker_of(server, model)
    (zygote,) = [child for child in front.children() if child.pid == worker.ppid()]
    zygote.kill()
    assert survivors([worker]) == []
    gone = wait_for(server.running.gone, what="the end of the server", timeout_s=10)
    assert gone == "the server's process ended with code 70"
    assert "the zygote ended with code -9; every model is gone, so is this server" in server.log
    with pytest.raises(
        AssertionError, match=rf"^{model.name} died at .* s and has not replied since: it got no request"
    ):
        server.check_recovers(within_s=60)
    with pytest.raises(NoAnswerError):
        server.ping()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_no_process_survives_the_death_of_the_server(mme_server: Servers, mme_models: Models, stopped: bool) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    front, worker = process_of(server), worker_of(server, model)
    family = [worker, *front.children(recursive=True)]
    if stopped:  # a stopped process cannot notice that its lifeline has closed
        worker.suspend()
    front.kill()
    assert survivors(family) == []


def test_sigterm_drains_a_server_and_ends_it_with_status_0(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    front = process_of(server)
    family = front.children(recursive=True)
    body = b'{"instances": ["%s"]}' % str(gate.path).encode()
    asked = pool.submit(server.client.invoke, server.identifier(gated), body)
    with gate.held():
        front.terminate()
        wait_for(lambda: not server.client.get(server.identifier(gated)).ok or None, what="the drain", timeout_s=10)
        assert not asked.done()
    assert asked.result().status == 400  # the model's own reply
    gone = wait_for(server.running.gone, what="the end of the server", timeout_s=10)
    assert gone == "the server's process ended with code 0"
    assert survivors(family) == []


def test_a_server_with_a_load_in_progress_ends_at_once(
    mme_models: Models, mme_settings: Settings, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    folder = tmp_path / "stuck"
    extract(mme_models.linear().archive, folder)
    gate = Gate(folder / "1" / "fingerprint.pb")  # the loader opens it, and waits
    with Run(mme_settings, directory=tmp_path) as run:
        with run.server(drain_s=300) as server:
            load = pool.submit(server.client.load, "stuck", str(folder))
            with gate.held():
                family = process_of(server).children(recursive=True)
                began_s = time.monotonic()
                server.running.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began_s < 15  # and neither the 300 s of the drain nor SIGKILL's 20 s
    assert survivors(family) == []
    load.exception()


def test_the_zygote_has_one_thread_and_no_model(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    zygote = worker_of(server, model).parent()
    assert zygote is not None
    assert zygote.num_threads() == 1
