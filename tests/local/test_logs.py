"""The server's log: one JSON line per event, by which the client's and the server's view of a failure can be joined."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import pytest_mme
from pytest_mme import Endpoint, Event, Models, Run, Server
from pytest_mme.serving.logs import JsonFormatter, event_line, for_people, last_words, readable
from pytest_mme.timeline.events import Timeline

Servers = Callable[..., Server]
Endpoints = Callable[..., Endpoint]


def lines(log: str, event: str | None = None) -> list[dict[str, Any]]:
    """The log's JSON lines, of one kind of event if it is named."""
    parsed = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in parsed if event is None or line.get("event") == event]


def test_a_failure_is_in_the_log_with_boto3s_request_id(mme_endpoint: Endpoints, mme_models: Models) -> None:
    model = mme_models.linear("ranker")
    endpoint = mme_endpoint([model])
    endpoint.invoke(model, [1.0])
    with pytest.raises(ClientError) as refused:
        endpoint.invoke_raw(model.key, b"not json")
    seen = refused.value.response["ResponseMetadata"]["RequestId"]
    (line,) = [line for line in lines(endpoint.log, "invoke") if line["request"] == seen]
    assert (line["outcome"], line["target"]) == ("400", "ranker.tar.gz")
    assert line["error"] in str(refused.value)
    (attempt,) = [event for event in endpoint.timeline if event.kind == "attempt" and event.detail["request"] == seen]
    assert attempt.outcome != "ok"


def test_every_event_is_one_line(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear()
    identifier = server.load(model)
    server.invoke(model, [1.0])
    server.client.load("other", "/nowhere")
    server.unload(model)
    logged = [(line["event"], line["model"], line["outcome"]) for line in lines(server.log) if "model" in line]
    assert logged == [
        ("load", identifier, "ok"),
        ("invoke", identifier, "ok"),
        ("load", "other", "404"),
        ("unload", identifier, "ok"),
    ]
    assert all(line["at"].endswith("+00:00") for line in lines(server.log))


def test_output_of_handlers_comes_between_the_lines(mme_server: Servers, mme_models: Models) -> None:
    handler = (
        "import logging\nprint('imported')\ndef handler(data, context):\n    logging.info('asked')\n    return '', ''"
    )
    server, model = mme_server(), mme_models.linear(handler=handler)
    server.load(model)
    server.client.invoke(server.identifier(model), b"").expect("invoke")
    assert "\nimported\n" in f"\n{server.log}"
    assert "INFO:root:asked\n" in server.log


def test_a_test_that_joins_a_server_gets_its_own_part_of_the_log(mme_models: Models) -> None:
    with Run() as run, run.server() as shared:
        shared.load(mme_models.linear("before"))
        assert len(lines(shared.log, "load")) == 1
        joined = Server(shared.running, Timeline())
        joined.load(mme_models.linear("after"))
        (line,) = lines(joined.log, "load")
        assert line["model"] == joined.identifier(mme_models.linear("after"))
        assert len(lines(shared.log, "load")) == 2


def test_a_message_is_a_line_with_its_traceback() -> None:
    try:
        int("odd")
    except ValueError:
        record = logging.LogRecord("kit", logging.ERROR, "", 0, "it was %s", ("odd",), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"]) == ("error", "it was odd")
    assert line["error"].endswith("ValueError: invalid literal for int() with base 10: 'odd'")
    record.exc_info = None
    assert "error" not in json.loads(JsonFormatter().format(record))


def test_marks_are_not_logged() -> None:
    assert event_line(Event(at_s=0, source="server", kind="mark"), 0) is None
    line = json.loads(event_line(Event(at_s=0, source="server", kind="ping", detail={"x": 1}), 1.5) or "")
    assert line == {"at": "1970-01-01T00:00:01.500+00:00", "event": "ping", "outcome": "ok", "x": 1}


def test_people_see_what_was_printed_and_neither_events_nor_greetings() -> None:
    own = f'  File "{Path(pytest_mme.__file__).parent}/serving/processes/handler.py", line 2, in run'
    log = "\n".join(
        [
            "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
            "I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on. You may see slightly different results",
            "I0000 00:00:1 1 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.",
            "E0000 00:00:1 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error",
            "2026-01-31 1: I tensorflow/core/platform/cpu_feature_guard.cc:182] This TensorFlow binary is optimized",
            "To enable the following instructions: AVX2, rebuild TensorFlow with the appropriate compiler flags.",
            '{"at": "x", "event": "load", "outcome": "ok"}',
            "Traceback (most recent call last):",
            own,
            "    call()",
            '  File "/user/inference.py", line 3, in input_handler',
            "    prices[0]",
            "NameError: prices",
            '{"level": "error", "message": "odd"}',
        ]
    )
    seen = [
        "Traceback (most recent call last):",
        '  File "/user/inference.py", line 3, in input_handler',
        "    prices[0]",
        "NameError: prices",
        "error: odd",
    ]
    assert for_people(log) == seen
    assert len(for_people(log, loud=True)) == len(seen) + 6


def test_the_last_words_of_a_server_are_its_reason() -> None:
    assert last_words(["info: starting", "critical: no room", "  next: more"]) == "no room\n  next: more"
    assert last_words(["info: starting"]) == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"at": "x", "level": "error", "message": "odd\\nindeed"}', "error: odd\nindeed"),
        ('{"level": "error", "message": "odd", "error": "Traceback"}', "error: odd\nTraceback"),
        ('{"event": "ping"}', '{"event": "ping"}'),
        ("plain", "plain"),
        ("[1]", "[1]"),
    ],
)
def test_readable_lines_have_messages_without_json(line: str, shown: str) -> None:
    assert readable(line) == shown
