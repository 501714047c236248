"""Calls that meet: loads, unloads, requests and the end of the server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from pytest_mme import Model, Models, Server
from pytest_mme.archives.archive import extract
from pytest_mme.contract.client import Reply
from pytest_mme.waiting import wait_for
from tests.local.conftest import process_of, worker_of
from tests.local.gate import Gate
from tests.processes import survivors

Servers = Callable[..., Server]


@pytest.fixture
def folder(mme_models: Models, tmp_path: Path) -> Path:
    """A tiny model's files."""
    extract(mme_models.linear().archive, tmp_path / "linear")
    return tmp_path / "linear"


def asking_for(gate: Gate) -> bytes:
    return b'{"instances": ["%s"]}' % str(gate.path).encode()


def ask_at_the_gate(server: Server, gated: Model, gate: Gate, pool: ThreadPoolExecutor) -> Future[Reply]:
    """A request that stays in flight until the gate opens."""
    return pool.submit(server.client.invoke, server.identifier(gated), asking_for(gate))


def until_404(server: Server, model: Model) -> None:
    """The model takes no new requests from the moment it is being unloaded."""
    wait_for(lambda: server.client.get(server.identifier(model)).status == 404 or None, what="404", timeout_s=20)


def test_only_one_of_several_simultaneous_loads_of_one_id_succeeds(
    mme_server: Servers, folder: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    for round_ in range(5):
        loads = [pool.submit(server.client.load, f"m{round_}", str(folder)) for _ in range(4)]
        assert sorted(load.result().status for load in loads) == [200, 409, 409, 409]
        assert server.client.get(f"m{round_}").ok
    assert len(server.list()) == 5


def test_a_load_during_an_unload_begins_when_the_unload_is_done(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    identifier = server.load(gated)
    first = worker_of(server, gated)
    url = server.get(gated)["modelUrl"]
    asked = ask_at_the_gate(server, gated, gate, pool)
    with gate.held():
        unload = pool.submit(server.client.unload, identifier)
        until_404(server, gated)
        load = pool.submit(server.client.load, identifier, url)
        assert server.ping().ok
        assert not load.done()
    assert asked.result().status == 400  # the model's own answer
    assert unload.result().status == 200
    assert load.result().status == 200
    assert server.get(gated)["modelName"] == identifier
    assert not first.is_running()


def test_a_model_that_is_loaded_a_second_time_answers_meanwhile(
    mme_server: Servers, mme_models: Models, pool: ThreadPoolExecutor
) -> None:
    server, model = mme_server(), mme_models.linear(weights_mib=100)
    first = server.load(model)
    once_more = pool.submit(server.load, model)
    answered = 0
    while not once_more.done():
        assert server.invoke(model, [1.0]) == model.answer([1.0])
        answered += 1
    assert answered
    assert server.identifier(model) == once_more.result() != first


def test_an_unload_during_a_load_happens_after_the_load(
    mme_server: Servers, folder: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    gate = Gate(folder / "1" / "fingerprint.pb")  # the loader reads it, and waits
    load = pool.submit(server.client.load, "m", str(folder))
    with gate.held():
        unload = pool.submit(server.client.unload, "m")
        assert server.client.invoke("m", b"{}").status == 404
        assert server.client.get("m").status == 404
        assert not unload.done()
    loaded = load.result().status
    assert unload.result().status == (200 if loaded == 200 else 404)
    assert server.list() == []
    assert psutil.Process(server.running.facts["pid"]).children()[0].children() == []


def test_a_request_during_an_unload_is_404_and_an_earlier_one_gets_its_prediction(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    asked = ask_at_the_gate(server, gated, gate, pool)
    with gate.held():
        unload = pool.submit(server.unload, gated)
        until_404(server, gated)
        late = server.client.invoke(server.identifier(gated), asking_for(gate))
        assert late.status == 404
        assert "is not loaded" in late.json()["error"]
        assert not unload.done()
    assert asked.result().status == 400  # the model's own answer
    unload.result()


def test_a_second_unload_is_404_while_the_first_drains(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    asked = ask_at_the_gate(server, gated, gate, pool)
    with gate.held():
        unload = pool.submit(server.client.unload, server.identifier(gated))
        until_404(server, gated)
        assert server.client.unload(server.identifier(gated)).status == 404
    assert asked.result().status == 400
    assert unload.result().status == 200


def test_a_server_that_is_ending_takes_nothing_new(
    mme_server: Servers, gated: Model, gate: Gate, folder: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    asked = ask_at_the_gate(server, gated, gate, pool)
    with gate.held():
        process_of(server).terminate()
        until_404(server, gated)
        for refused in (server.client.load("late", str(folder)), server.client.invoke("late", b"{}")):
            assert refused.status == 503
            assert refused.json() == {"error": "the server is ending"}
    assert asked.result().status == 400
    assert wait_for(server.running.gone, what="the end", timeout_s=20) == "the server's process ended with code 0"


def test_a_request_that_outlasts_the_grace_is_cut_off_and_the_status_is_0_all_the_same(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server(grace_s=0.1)
    server.load(gated)
    family = process_of(server).children(recursive=True)
    asked = ask_at_the_gate(server, gated, gate, pool)
    with gate.held():
        process_of(server).terminate()
        assert asked.result().status == 500
        assert wait_for(server.running.gone, what="the end", timeout_s=20) == "the server's process ended with code 0"
    assert survivors(family) == []


def test_a_load_that_outlasts_the_grace_is_cut_off_too(
    mme_server: Servers, folder: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server(grace_s=0.1)
    gate = Gate(folder / "1" / "fingerprint.pb")
    load = pool.submit(server.client.load, "m", str(folder))
    with gate.held():
        process_of(server).terminate()
        assert wait_for(server.running.gone, what="the end", timeout_s=20) == "the server's process ended with code 0"
    assert load.exception() is not None or load.result().status == 500


def test_every_page_is_full_but_the_last_and_an_exact_hundred_has_one(
    mme_server: Servers, folder: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    assert {reply.status for reply in pool.map(lambda n: server.client.load(f"m{n}", str(folder)), range(100))} == {200}
    assert "nextPageToken" not in server.client.list().json()
    assert len(server.client.list().json()["models"]) == 100
