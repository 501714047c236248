from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pytest_mme import Model, Models, Server
from pytest_mme.errors import ContractError
from tests.local.conftest import worker_of
from tests.local.gate import Gate

Servers = Callable[..., Server]


def test_a_loaded_model_is_listed_described_and_invoked(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    identifier = server.load(model)
    described = {"modelName": identifier, "modelUrl": str(server.running.models / identifier / "model")}
    assert server.list() == [described]
    assert server.get(model) == described
    assert server.invoke(model, [1.0, 2.0]) == model.answer([1.0, 2.0])
    assert server.ping().body == b""


def test_identifiers_are_opaque(mme_server: Servers, mme_models: Models) -> None:
    identifier = mme_server().load(mme_models.linear())
    assert len(identifier) == 32
    assert set(identifier) <= set("0123456789abcdef")


def test_an_unloaded_model_is_gone_and_so_is_its_process(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    worker = worker_of(server, model)
    server.unload(model)
    assert not worker.is_running()
    assert server.list() == []
    for call in (server.get, server.unload, lambda model: server.invoke(model, [1.0])):
        with pytest.raises(ContractError, match="is not loaded") as refused:
            call(model)
        assert refused.value.status == 404


def test_a_second_load_is_409_and_changes_nothing(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    identifier = server.load(model)
    again = server.client.load(identifier, "/nowhere")
    assert again.status == 409
    assert "already loaded" in again.json()["error"]
    assert server.invoke(model, [1.0]) == model.answer([1.0])


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"model_name": "m"}', 400), (b'{"model_name": "../m", "url": "/x"}', 400)],
)
def test_an_invalid_load_request_is_400(mme_server: Servers, body: bytes, status: int) -> None:
    server = mme_server()
    answer = server.client.ask("POST", "/models", body)
    assert answer.status == status
    assert answer.json()["error"]
    assert server.list() == []


def test_a_missing_folder_is_404(mme_server: Servers) -> None:
    server = mme_server()
    answer = server.client.load("m", "/nowhere/at/all")
    assert answer.status == 404
    assert "no such folder" in answer.json()["error"]


def test_a_model_that_tensorflow_refuses_is_500_with_its_message(mme_server: Servers, tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"garbage" * 100)
    server = mme_server()
    answer = server.client.load("m", str(tmp_path / "m"))
    assert answer.status == 500
    assert "Can't parse" in answer.json()["error"]
    assert server.list() == []
    assert server.client.unload("m").status == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", "JSON Parse error"),
        (b"[]", "Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": []}', "JSON Value"),
        (b'{"instances": [{"nope": 1.0}]}', "key: nope"),
        (b'{"instances": [["text"]]}', "Type: String is not of expected type: float"),
        (b'{"instances": [[1.0], [1.0, 2.0]]}', "Failed to process element: 1"),
        (b'{"instances": [[1.0]], "signature_name": "nope"}', '"nope" not found in signature def'),
    ],
)
def test_a_request_that_does_not_fit_is_400_with_a_message(
    mme_server: Servers, mme_models: Models, body: bytes, words: str
) -> None:
    server, model = mme_server(), mme_models.linear()
    answer = server.client.invoke(server.load(model), body)
    assert answer.status == 400
    assert words in answer.json()["error"]


def test_a_wrong_shape_is_400_with_tensorflows_message(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    answer = server.client.invoke(server.load(model), b'{"instances": [1.0]}')
    assert answer.status == 400
    assert "is not compatible with expected shape" in answer.json()["error"]


def test_named_inputs_several_instances_and_signatures_are_served(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(signatures=("serving_default", "twice"))
    body = b'{"instances": [{"x": [1.0]}, {"x": [2.0]}], "signature_name": "twice"}'
    predictions = server.client.invoke(server.load(model), body).json()["predictions"]
    assert predictions == [model.answer([1.0], signature="twice"), model.answer([2.0], signature="twice")]


def test_the_highest_version_of_an_archive_is_invoked(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(versions=(2, 10, 9))
    server.load(model)
    assert server.invoke(model, [1.0]) == model.answer([1.0], version=10)


def test_arrays_and_bytes_are_sent_as_json(mme_server: Servers, mme_models: Models) -> None:
    server, linear, text = mme_server(), mme_models.linear(), mme_models.text()
    for model in (linear, text):
        server.load(model)
    for x in (np.array([1.0, 2.0], np.float32), [np.float64(1), np.int64(2)], np.array([1, 2])):
        assert server.invoke(linear, x) == linear.answer([1.0, 2.0])
    assert server.invoke(text, b"a text") == text.answer("a text")
    asked = [event.detail["x"] for event in server.timeline if event.kind == "invoke" and event.source == "client"]
    assert asked == [*[[1.0, 2.0]] * 3, {"b64": "YSB0ZXh0"}]
    with pytest.raises(TypeError, match=r"^seen set; allowed: arrays, lists, dicts, numbers, strings, bytes$"):
        server.invoke(linear, {1.0})


@pytest.mark.parametrize("kind", ["text", "keras", "counter"])
def test_every_kind_of_model_is_served(mme_server: Servers, mme_models: Models, kind: str) -> None:
    model = getattr(mme_models, kind)()
    server, x = mme_server(), model.spec.example
    server.load(model)
    before = 0.0 if kind == "counter" else None
    assert server.invoke(model, x, before=before) == model.answer(x)
    server.check_answers()


def test_two_clients_racing_for_a_counter_lose_an_update(
    mme_server: Servers, mme_models: Models, pool: ThreadPoolExecutor
) -> None:
    server, counter = mme_server(), mme_models.counter(sleep_ms=100)
    server.load(counter)
    for done in [pool.submit(server.invoke, counter, [1.0]) for _ in range(4)]:
        done.result()
    assert server.invoke(counter, [1.0])["y"][0] < 5


def test_models_with_swapped_workers_are_detected(
    mme_server: Servers, mme_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = mme_server()
    a, b = mme_models.fleet(2)
    server.load(a)
    server.load(b)
    assert server.invoke(a, [1.0]) == a.answer([1.0])
    server.check_answers()
    swapped = {a.name: server.identifier(b), b.name: server.identifier(a)}
    monkeypatch.setattr(server, "_identifiers", swapped)
    server.invoke(a, [1.0])
    with pytest.raises(AssertionError, match=r"1 of 2 predictions are wrong:\n.*that is model-1/1#.*'s"):
        server.check_answers()


def test_an_unload_cuts_off_requests_after_the_drain_time(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server(drain_s=0.1)
    server.load(gated)
    asked = pool.submit(server.client.invoke, server.identifier(gated), _asking_for(gate))
    with gate.held():
        server.unload(gated)
        assert asked.result().status == 500
    (unload,) = [event for event in server.timeline if event.kind == "unload" and event.source == "server"]
    assert unload.outcome == "cut off"


def _asking_for(gate: Gate) -> bytes:
    return b'{"instances": ["%s"]}' % str(gate.path).encode()


def test_a_slow_load_does_not_delay_other_models(
    mme_server: Servers, mme_models: Models, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    quick, slow, other = mme_models.fleet(3)
    server.load(quick)
    folder = tmp_path / "slow"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "saved_model.pb").write_bytes(_pb_of(slow, tmp_path))
    gate = Gate(folder / "1" / "fingerprint.pb")  # the loader reads it, and waits
    load = pool.submit(server.client.load, "slow", str(folder))
    with gate.held():
        assert server.ping().ok
        assert server.invoke(quick, [1.0]) == quick.answer([1.0])
        assert [one["modelName"] for one in server.list()] == [server.identifier(quick)]
        assert server.client.load("slow", str(folder)).status == 409
        server.load(other)
        assert server.invoke(other, [1.0]) == other.answer([1.0])
        assert not load.done()
    assert load.result().status in (200, 500)  # an empty fingerprint may be refused
    assert server.ping().ok


def _pb_of(model: Model, tmp_path: Path) -> bytes:
    from pytest_mme.archives.archive import extract

    extract(model.archive, tmp_path / "extracted")
    return (tmp_path / "extracted" / "1" / "saved_model.pb").read_bytes()


def test_a_hundred_and_one_models_take_two_pages(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    server.load(model)
    folder = server.get(model)["modelUrl"]
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(server.client.load, f"m{number}", folder) for number in range(100)]
    assert {load.result().status for load in loads} == {200}
    first = server.client.list().json()
    second = server.client.list(first["nextPageToken"]).json()
    assert (len(first["models"]), len(second["models"])) == (100, 1)
    assert "nextPageToken" not in second
    assert len(server.list()) == 101
    assert server.client.list("nonsense").status == 400


def test_the_environment_is_unchanged(mme_server: Servers) -> None:
    before = dict(os.environ)
    mme_server()
    assert dict(os.environ) == before
