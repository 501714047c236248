"""What each recorded exchange means, step by step, and which container is recognised by its first replies."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pytest_mme.contract.client import Reply
from pytest_mme.contract.deviations import deviations
from pytest_mme.contract.dialects import (
    CONTRACT,
    DIALECTS,
    MULTI_MODEL_SERVER,
    TENSORFLOW_A,
    TENSORFLOW_B,
    TENSORFLOW_C,
    Dialect,
    Loading,
    dialect_of,
    recognise,
)
from tests.unit.contract.replay import (
    RECORDED,
    Container,
    Exchange,
    MultiModelServer,
    TensorFlow21,
    TensorFlow220,
    serving,
    transcript,
)

READINGS = {
    "A": """
        ping: well
        list, nothing loaded: [] + list-shape
        get, not loaded: nothing
        unload, not loaded: 404
        invoke, not loaded: lost
        load: loaded
        list, one loaded: [m1] + list-shape
        get, loaded: m1 at '' + get-error
        invoke: predicted
        invoke with target model header and custom attributes: predicted
        invoke, body is not JSON: refused + invoke-error-200
        invoke, wrong input name: refused + invoke-error-200
        invoke, wrong type: refused + invoke-error-200
        invoke, empty body: refused + invoke-error-200
        invoke, version that is absent: refused + invoke-error-200
        load a second model: loaded
        list, two loaded: [m1, m2] + list-shape
        load, folder absent: refused
        invoke after that failed load: lost + invoke-lost
        list after that failed load: nothing + list-error + bad-gateway
        load, version folder is not a number: refused
        load, body without url: refused
        load, body is not JSON: refused
        load, saved_model.pb is corrupt: refused + bad-gateway
        list after the corrupt load: [] + list-shape
        load the corrupt one again: left of a load that failed + ghost
        unload the corrupt one: 404
        load, op is not registered: refused + bad-gateway
        invoke the healthy model after that: lost
        ping after that: well
        unload: 404
        invoke after unload: lost
        list after unload: [] + list-shape
        load again under another name: refused + bad-gateway
        invoke right after every model process was killed: lost
        list after the kill: [] + list-shape
        ping after the kill: well
        invoke once more: lost
        load it again after the kill: left of a load that failed + ghost
        invoke after that: lost + invoke-lost
        load the same name twice: already there
        invoke after the second load: lost + invoke-lost
        list after the second load: nothing + list-error + bad-gateway
    """,
    "C": """
        ping: well
        list, nothing loaded: [] + list-shape
        get, not loaded: nothing
        unload, not loaded: 404
        invoke, not loaded: lost
        load: loaded
        list, one loaded: [m1] + list-shape
        get, loaded: m1 at '' + get-shape
        invoke: predicted
        invoke with target model header and custom attributes: predicted
        invoke, body is not JSON: refused
        invoke, wrong input name: refused
        invoke, wrong type: refused
        invoke, empty body: refused
        invoke, version that is absent: lost
        load a second model: loaded
        list, two loaded: [m1, m2] + list-shape
        load, folder absent: refused
        invoke after that failed load: lost
        list after that failed load: [m1, m2] + list-shape
        load, version folder is not a number: refused
        load, body without url: refused
        load, body is not JSON: refused
        load, saved_model.pb is corrupt: no memory + load-408
        list after the corrupt load: [m1, m2] + list-shape
        load the corrupt one again: no memory + load-408
        unload the corrupt one: 404
        load, op is not registered: no memory + load-408
        invoke the healthy model after that: predicted
        ping after that: well
        unload: 200
        invoke after unload: lost
        list after unload: [m1] + list-shape
        load again under another name: loaded
        invoke right after every model process was killed: lost
        list after the kill: nothing + list-error
        ping after the kill: well
        invoke once more: lost
        load it again after the kill: loaded
        invoke after that: predicted
        load the same name twice: already there
        invoke after the second load: lost
        list after the second load: [m8] + list-shape
    """,
    "M": """
        ping: well + ping-body
        list, nothing loaded: []
        get, not loaded: nothing
        unload, not loaded: 404
        invoke, not loaded: lost
        load: loaded
        list, one loaded: [m1]
        get, loaded: m1 at '/opt/ml/models/half_plus_two' + get-extra-fields
        invoke: predicted
        invoke with target model header and custom attributes: predicted
        invoke, body is not JSON: refused + invoke-error-status
        invoke, wrong input name: refused + invoke-error-status
        invoke, wrong type: refused + invoke-error-status
        invoke, empty body: refused + invoke-error-status
        invoke, version that is absent: predicted
        load a second model: loaded
        list, two loaded: [m1, m2]
        load, folder absent: refused
        invoke after that failed load: lost
        list after that failed load: [m1, m2]
        load, version folder is not a number: refused
        load, body without url: refused
        load, body is not JSON: refused
        load, saved_model.pb is corrupt: refused
        list after the corrupt load: [m1, m2]
        load the corrupt one again: refused
        unload the corrupt one: 404
        load, op is not registered: refused
        invoke the healthy model after that: predicted
        ping after that: well + ping-body
        unload: 200
        invoke after unload: lost
        list after unload: [m1]
        load again under another name: loaded
        invoke right after every model process was killed: no reply
        list after the kill: [m1, m8]
        ping after the kill: well + ping-body + ping-unhealthy
        invoke once more: no reply
        load it again after the kill: already there
        invoke after that: no reply
        load the same name twice: already there
        invoke after the second load: no reply
        list after the second load: [m1, m8]
    """,
}
READ = {
    letter: dict(line.strip().rsplit(": ", 1) for line in lines.strip().splitlines())
    for letter, lines in READINGS.items()
}


def reading(dialect: Dialect, exchange: Exchange) -> str:
    """What an exchange means, and the kinds of its deviations."""
    if exchange.reply is None:
        return "no reply"
    kinds = [deviation.kind for deviation in deviations(dialect, exchange.call, exchange.reply)]
    return " + ".join([meaning(dialect, exchange, exchange.reply), *kinds])


def meaning(dialect: Dialect, exchange: Exchange, reply: Reply) -> str:
    match exchange.call:
        case "ping":
            return "well" if reply.ok else "ill"
        case "list":
            page = dialect.page(reply)
            return f"[{', '.join(entry['modelName'] for entry in page.entries)}]" if page else "nothing"
        case "get":
            described = dialect.description(str(exchange.model), reply)
            return f"{described['modelName']} at {described['modelUrl']!r}" if described else "nothing"
        case "load" | "load again":
            return dialect.loading(reply, failed_before=exchange.call == "load again").value
        case "invoke":
            if dialect.lost(reply):
                return "lost"
            return "predicted" if dialect.is_prediction(reply) else "refused"
    return str(reply.status)


@pytest.mark.parametrize(
    ("letter", "step"),
    [pytest.param(letter, step, id=f"{letter}: {step}") for letter in RECORDED for step in transcript(letter)],
)
def test_each_recorded_exchange_has_its_meaning(letter: str, step: str) -> None:
    assert reading(RECORDED[letter], transcript(letter)[step]) == READ[letter][step]


def test_each_recorded_step_has_a_meaning_here() -> None:
    assert {letter: list(steps) for letter, steps in READ.items()} == {
        letter: list(transcript(letter)) for letter in RECORDED
    }


def test_b_understands_all_replies_of_a_and_takes_a_408_for_lack_of_memory() -> None:
    for step, exchange in transcript("A").items():
        assert reading(TENSORFLOW_B, exchange) == READ["A"][step], step
    late = reply(408, "Timed out after 20 seconds")
    assert [TENSORFLOW_A.loading(late), TENSORFLOW_B.loading(late)] == [Loading.REFUSED, Loading.NO_MEMORY]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_in_every_dialect_507_is_lack_of_memory(dialect: Dialect) -> None:
    assert dialect.loading(reply(507)) is Loading.NO_MEMORY


def test_ghosts_were_recorded_only_of_dialects_that_have_ghosts() -> None:
    haunted = {
        letter
        for letter in RECORDED
        for exchange in transcript(letter).values()
        if exchange.reply and "ghost" in reading(RECORDED[letter], exchange)
    }
    assert haunted == {"A"}
    assert [dialect for dialect in DIALECTS if dialect.ghosts] == [TENSORFLOW_A, TENSORFLOW_B, MULTI_MODEL_SERVER]


def reply(status: int, body: object = "") -> Reply:
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    return Reply(status, text if isinstance(text, bytes) else text.encode(), {}, 0.0)


# What a user's own code replies is not taken for the container's own reply


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_refused_connection_of_the_users_code_is_an_error_of_the_model(dialect: Dialect) -> None:
    elsewhere = "HTTPConnectionPool(host='features.example', port=80): … /v1/models/x … [Errno 111] Connection refused"
    assert not dialect.lost(reply(500, {"error": elsewhere}))


def test_a_prediction_with_a_member_called_error_is_a_prediction() -> None:
    assert TENSORFLOW_A.is_prediction(reply(200, {"predictions": [1.0], "error": "0.5"}))
    assert TENSORFLOW_A.is_prediction(reply(200, {"error": 0.5}))
    assert CONTRACT.is_prediction(reply(200, {"error": "as the model has it"}))
    assert deviations(CONTRACT, "invoke", reply(200, {"error": "as the model has it"})) == ()


def test_in_the_contract_the_words_of_other_containers_mean_nothing() -> None:
    (refused,) = [transcript("A")["invoke after that"].reply]
    assert refused
    assert not CONTRACT.lost(refused)
    assert not CONTRACT.lost(reply(503, {"message": "No worker is available to serve request: m"}))
    assert MULTI_MODEL_SERVER.lost(reply(503, {"message": "No worker is available to serve request: m"}))


# Bodies of no known shape


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        [],
        {"models": [1]},
        {"models": [{"modelName": "m"}]},
        {"m": "loaded"},
        {"models": "m"},
        "[" * 9999,
    ],
)
def test_a_body_that_is_not_a_list_of_models_has_no_page(body: object) -> None:
    assert CONTRACT.page(reply(200, body)) is None


@pytest.mark.parametrize("body", ["", "not JSON", [], {"modelName": "m"}, {"model": "m"}])
def test_a_body_that_is_not_a_description_is_a_deviation(body: object) -> None:
    assert CONTRACT.description("m", reply(200, body)) is None
    assert [deviation.kind for deviation in deviations(CONTRACT, "get", reply(200, body))] == ["get-shape"]


def test_a_get_that_fails_means_a_loaded_model_only_in_dialects_that_say_so() -> None:
    assert CONTRACT.description("m", reply(500)) is None
    assert TENSORFLOW_C.description("m", reply(500)) is None


def test_a_page_without_a_token_is_the_last() -> None:
    listed = {"models": [{"modelName": "m", "modelUrl": "/m", "more": 1}]}
    page = CONTRACT.page(reply(200, {**listed, "nextPageToken": "100"}))
    assert page is not None
    assert (page.entries, page.token) == (({"modelName": "m", "modelUrl": "/m"},), "100")
    for last in (listed, {**listed, "nextPageToken": None}, {**listed, "nextPageToken": ""}):
        page = CONTRACT.page(reply(200, last))
        assert page is not None
        assert page.token is None


def test_an_empty_page_is_a_deviation_only_after_another_page() -> None:
    empty = reply(200, {"models": []})
    assert deviations(CONTRACT, "list", empty) == ()
    assert [deviation.kind for deviation in deviations(CONTRACT, "next page", empty)] == ["list-empty-page"]


def test_the_deletion_of_a_failed_model_that_succeeds_shows_a_ghost() -> None:
    assert [deviation.kind for deviation in deviations(MULTI_MODEL_SERVER, "clean up", reply(200))] == ["ghost"]
    assert deviations(MULTI_MODEL_SERVER, "clean up", reply(404)) == ()
    assert deviations(MULTI_MODEL_SERVER, "unload", reply(200)) == ()


# Which container it is


@pytest.mark.parametrize(
    ("container", "dialect"),
    [(TensorFlow21, TENSORFLOW_B), (TensorFlow220, TENSORFLOW_C), (MultiModelServer, MULTI_MODEL_SERVER)],
)
def test_a_recorded_container_is_recognised_by_three_gets(container: Callable[[], Container], dialect: Dialect) -> None:
    with serving(container()) as client:
        assert dialect_of(client) is dialect


WELL, NONE, UNKNOWN = reply(200), reply(200, {"models": []}), reply(404, {"error": "not loaded"})
TYPED = {"code": 404, "type": "ModelNotFoundException", "message": "Model not found: m"}


@pytest.mark.parametrize(
    ("ping", "models", "unknown"),
    [
        pytest.param(WELL, NONE, UNKNOWN, id="the contract"),
        pytest.param(WELL, NONE, reply(404, TYPED), id="a ping without multi-model-server's body"),
        pytest.param(reply(200, {"status": "up"}), NONE, UNKNOWN, id="another ping with a body"),
        pytest.param(WELL, NONE, reply(404, {"error": "Model m is not loaded yet."}), id="words only"),
        pytest.param(WELL, reply(200, {}), reply(404, {"error": "no model m"}), id="a shape only"),
        pytest.param(WELL, reply(200, {}), reply(200, {"error": "Model m is loaded yet."}), id="another status"),
        pytest.param(reply(404), reply(404, b"\xff"), reply(404, b"\xff"), id="something else"),
        pytest.param(reply(200), reply(200, "[]"), reply(404, "[]"), id="lists"),
    ],
)
def test_an_unknown_server_is_taken_to_keep_the_contract(ping: Reply, models: Reply, unknown: Reply) -> None:
    assert recognise(ping, models, unknown) is CONTRACT


def test_a_container_whose_list_fails_is_recognised() -> None:
    unknown = transcript("C")["get, not loaded"].reply
    failing = transcript("C")["list after the kill"].reply
    assert unknown
    assert failing
    assert recognise(WELL, failing, unknown) is TENSORFLOW_C
