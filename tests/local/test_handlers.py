"""Users' handlers: `inference.py` in a process of its own, beside the model's worker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_mme import Endpoint, Model, Models, Server
from pytest_mme.archives.archive import extract
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.errors import ContractError, ServerStartError
from pytest_mme.waiting import wait_for
from tests.processes import is_alive

Servers = Callable[..., Server]

ASK_THE_MODEL = """
import requests

def handler(data, context):
    reply = requests.post(context.rest_uri, data=data.read())
    return reply.content, context.accept_header
"""
TELL_THE_CONTEXT = """
import json

def handler(data, context):
    return json.dumps({**context._asdict(), "body": data.read().decode()}), "application/json"
"""
TWO_HANDLERS = """
import json

def input_handler(data, context):
    return json.dumps({"instances": [float(number) for number in data.read().decode().split(",")]}).replace("[", "[[", 1).replace("]", "]]", 1)

def output_handler(response, context):
    return "seen: " + response.text, "text/plain"
"""
TOOLKIT = """
import os

def model_fn(model_dir):
    return sorted(os.listdir(model_dir))

def predict_fn(data, model):
    return {"model": model, "twice": data * 2}
"""


def ask(server: Server, model: Model, body: bytes = b"", **headers: str) -> Reply:
    return server.client.invoke(server.identifier(model), body, headers)


def error_of(reply: Reply) -> str:
    return str(reply.json()["error"])


def handler_of(server: Server, model: Model) -> psutil.Process:
    loads = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
    return psutil.Process([event.detail["handler_pid"] for event in loads if event.model == model.name][-1])


def test_a_handler_can_call_its_own_model(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    a, b = mme_models.fleet(2, handler=ASK_THE_MODEL)
    server.load(a)
    server.load(b)
    assert server.invoke(a, [1.0]) == a.answer([1.0])
    assert server.invoke(b, [1.0]) == b.answer([1.0])
    server.check_answers()


def test_a_handler_may_import_tensorflow(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    model = mme_models.linear(
        handler="import tensorflow as tf\ndef handler(data, context):\n    return str(float(tf.constant(1.5) * 2)), 'text/plain'"
    )
    server.load(model)
    assert ask(server, model).body == b"3.0"


def test_the_context_has_the_fields_of_the_containers(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=TELL_THE_CONTEXT)
    identifier = server.load(model)
    headers = {
        "Content-Type": "text/csv",
        "Accept": "text/plain",
        routes.CUSTOM_ATTRIBUTES: "tfs-model-version=1,tfs-method=predict,mine=yes",
        routes.TARGET_MODEL: "team/model.tar.gz",
    }
    context = ask(server, model, b"1,2", **headers).json()
    rest_uri = context.pop("rest_uri")
    assert rest_uri == f"{server.client.url}/v1/models/{identifier}/versions/1:predict"
    assert context == {
        "model_name": identifier,
        "model_version": "1",
        "method": "predict",
        "grpc_port": None,
        "channel": None,
        "custom_attributes": headers[routes.CUSTOM_ATTRIBUTES],
        "request_content_type": "text/csv",
        "accept_header": "text/plain",
        "content_length": 3,
        "target_model": "team/model.tar.gz",
        "body": "1,2",
    }


def test_the_context_of_a_request_without_headers_has_defaults(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=TELL_THE_CONTEXT)
    server.load(model)
    context = server.client.ask("POST", routes.invoke(server.identifier(model)), b"", {"Accept": ""}).json()
    assert context["request_content_type"] == "application/json"
    assert context["accept_header"] == "application/json"
    assert (context["model_version"], context["method"], context["custom_attributes"], context["target_model"]) == (
        None,
    ) * 4


def test_input_and_output_handlers_surround_the_model(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=TWO_HANDLERS)
    server.load(model)
    answer = ask(server, model, b"1.0, 2.0")
    assert answer.headers["Content-Type"] == "text/plain"
    predictions = json.loads(answer.body.removeprefix(b"seen: "))["predictions"]
    assert predictions == [model.answer([1.0, 2.0])]


def test_the_models_refusal_keeps_its_status_behind_an_output_handler(mme_server: Servers, mme_models: Models) -> None:
    handler = TWO_HANDLERS.replace('"[["', '"["').replace('"]]"', '"]"')  # a shape that the model refuses
    server, model = mme_server(), mme_models.linear(handler=handler)
    server.load(model)
    answer = ask(server, model, b"1.0")
    assert answer.status == 400
    assert answer.body.startswith(b'seen: {"error"')


def test_the_toolkits_functions_load_the_model_themselves(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=TOOLKIT)
    server.load(model)
    answer = ask(server, model, b"[1, 2]", **{"Content-Type": "application/json", "Accept": "application/json"})
    assert answer.json() == {"model": ["1", "code"], "twice": [2, 4]}
    (load,) = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
    assert load.detail["pid"] == load.detail["handler_pid"]  # no worker beside it


def test_code_that_loads_its_own_kind_of_model_needs_no_saved_model(
    mme_endpoint: Callable[..., Endpoint], mme_models: Models, tmp_path: Path
) -> None:
    (tmp_path / "pickled" / "code").mkdir(parents=True)
    (tmp_path / "pickled" / "code" / "inference.py").write_text(
        "import pathlib\n"
        "def model_fn(model_dir): return int((pathlib.Path(model_dir) / 'weights.txt').read_text())\n"
        "def predict_fn(data, model): return data * model"
    )
    (tmp_path / "pickled" / "weights.txt").write_text("3")
    model = mme_models.archive(tmp_path / "pickled")
    assert mme_endpoint([model]).invoke_raw(model.key, b"[1, 2]").json() == [3, 6]


@pytest.mark.parametrize(
    ("accept", "content"), [("text/csv", b"2.0,4.0\n"), ("*/*", b"[2.0, 4.0]"), ("application/json", b"[2.0, 4.0]")]
)
def test_the_toolkits_defaults_take_csv_and_reply_in_the_accepted_format(
    mme_server: Servers, mme_models: Models, accept: str, content: bytes
) -> None:
    handler = "def model_fn(model_dir): return 2\ndef predict_fn(data, model): return data * model"
    server, model = mme_server(), mme_models.linear(handler=handler)
    server.load(model)
    assert ask(server, model, b"1,2", **{"Content-Type": "text/csv", "Accept": accept}).body == content


def test_a_format_unknown_to_the_toolkit_is_415(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=TOOLKIT)
    server.load(model)
    refused = ask(server, model, b"", **{"Content-Type": "image/png"})
    assert refused.status == 415
    assert "write an input_fn" in error_of(refused)


def test_the_users_functions_replace_the_toolkits_defaults(mme_server: Servers, mme_models: Models) -> None:
    handler = """
def model_fn(model_dir): return "model"
def input_fn(body, content_type): return f"{body.decode()} as {content_type}"
def predict_fn(data, model): return f"{model} of {data}"
def output_fn(prediction, accept): return prediction + f" for {accept}", "text/plain"
"""
    server, model = mme_server(), mme_models.linear(handler=handler)
    server.load(model)
    answer = ask(server, model, b"x", **{"Content-Type": "a/b", "Accept": "c/d"})
    assert (answer.body, answer.headers["Content-Type"]) == (b"model of x as a/b for c/d", "text/plain")


def test_lib_is_on_the_path_of_its_own_model_only(mme_server: Servers, mme_models: Models, tmp_path: Path) -> None:
    code = "from helper import NAME\nimport side\ndef handler(data, context): return NAME + side.NAME, 'text/plain'"
    server = mme_server()
    for name in ("first", "second"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "inference.py").write_text(code)
        (tmp_path / name / "lib" / "helper.py").write_text(f"NAME = '{name}'")
        (tmp_path / name / "side.py").write_text(f"NAME = ' beside {name}'")
        model = mme_models.linear(name, handler=tmp_path / name)
        server.load(model)
        assert ask(server, model).body == f"{name} beside {name}".encode()
    assert ask(server, Model(name="first", archive=tmp_path)).body == b"first beside first"


def test_after_unload_and_reload_the_new_code_runs(mme_server: Servers, mme_models: Models, tmp_path: Path) -> None:
    server, model = mme_server(), mme_models.linear(handler="def handler(data, context): return 'old', 'text/plain'")
    extract(model.archive, tmp_path / "model")
    inference = tmp_path / "model" / "code" / "inference.py"
    stat = inference.stat()
    server.client.load("m", str(tmp_path / "model")).expect("load")
    assert server.client.invoke("m", b"").body == b"old"
    inference.write_text(inference.read_text().replace("old", "new"))
    os.utime(inference, (stat.st_atime, stat.st_mtime))  # only its content differs
    assert server.client.invoke("m", b"").body == b"old"
    server.client.unload("m").expect("unload")
    server.client.load("m", str(tmp_path / "model")).expect("load")
    assert server.client.invoke("m", b"").body == b"new"
    assert sorted(path.name for path in inference.parent.iterdir()) == ["inference.py"]


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def handler(:", "SyntaxError: invalid syntax (inference.py, line 1)"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence (inference.py, line 1)"),
        ("x = 1", "UnusableCodeError: inference.py defines neither handler"),
        ("import sys; sys.exit(3)", "SystemExit: 3 (inference.py, line 1)"),
        ("import os; os._exit(3)", "its handler ended (exit 3)"),
        ("def model_fn(d): raise KeyError('w')\ndef predict_fn(d, m): pass", "KeyError: 'w' (inference.py, line 1)"),
    ],
)
def test_code_that_cannot_be_imported_fails_the_load_with_its_error(
    mme_server: Servers, mme_models: Models, handler: str, words: str
) -> None:
    server = mme_server()
    good, bad = mme_models.linear("good"), mme_models.linear("bad", handler=handler)
    server.load(good)
    before = _processes(server)
    with pytest.raises(ContractError) as refused:
        server.load(bad)
    assert refused.value.status == 500
    assert words in str(refused.value)
    assert _processes(server) == before
    assert server.invoke(good, [1.0]) == good.answer([1.0])
    assert server.client.unload(server.identifier(bad)).status == 404


def _processes(server: Server) -> set[int]:
    return {child.pid for child in psutil.Process(server.running.facts["pid"]).children(recursive=True)}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"raise ValueError('bad pixel')", 500, "ValueError: bad pixel (inference.py, line"),
        (b"import sys; sys.exit('done')", 500, "SystemExit: done"),
        (b"raise MemoryError", 507, "MemoryError"),
        (
            b"raise type('Teapot', (Exception,), {'status_code': 418})('short and stout')",
            418,
            "Teapot: short and stout",
        ),
    ],
)
def test_an_exception_fails_only_its_own_request(
    mme_server: Servers, mme_models: Models, body: bytes, status: int, words: str
) -> None:
    server = mme_server()
    model = mme_models.linear(
        handler="def handler(data, context):\n    exec(data.read())\n    return 'ok', 'text/plain'"
    )
    server.load(model)
    refused = ask(server, model, body)
    assert refused.status == status
    assert words in error_of(refused)
    assert ask(server, model, b"pass").body == b"ok"
    assert words.partition(" (")[0] in server.log  # with its traceback
    failed = next(event for event in server.timeline if event.kind == "invoke" and event.source == "server")
    assert (failed.outcome, words in failed.detail["error"]) == (str(status), True)


def test_an_exception_with_lone_surrogates_is_reported(mme_server: Servers, mme_models: Models) -> None:
    handler = "def handler(data, context): raise ValueError(chr(0xdcff))"
    server, model = mme_server(), mme_models.linear(handler=handler)
    server.load(model)
    assert error_of(ask(server, model)) == "ValueError: ? (inference.py, line 1)"


def test_an_invalid_return_value_is_500_and_says_what_is_expected(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler="def handler(data, context): return {'y': 1}")
    server.load(model)
    refused = ask(server, model)
    assert refused.status == 500
    assert "handler returned {'y': 1}; it must return (body, content type)" in error_of(refused)


def test_a_handler_that_dies_ends_its_own_model_only(mme_server: Servers, mme_models: Models) -> None:
    server, other = mme_server(), mme_models.linear("other")
    model = mme_models.linear("dies", handler="import os\ndef handler(data, context): os._exit(7)")
    server.load(other)
    server.load(model)
    answer = ask(server, model)
    assert answer.status == 500
    assert "its handler ended (exit 7); load it again" in error_of(answer)
    assert server.invoke(other, [1.0]) == other.answer([1.0])
    assert ask(server, model).status == 404
    server.load(model)
    server.check_resident(model, other)


def test_the_handler_of_a_worker_that_dies_ends_too(mme_server: Servers, mme_models: Models) -> None:
    server, model = mme_server(), mme_models.linear(handler=ASK_THE_MODEL)
    server.load(model)
    handler = handler_of(server, model)
    (load,) = [event for event in server.timeline if event.kind == "load" and event.source == "server"]
    psutil.Process(load.detail["pid"]).kill()
    wait_for(lambda: ask(server, model).status == 404 or None, what="404", timeout_s=10)
    wait_for(lambda: not is_alive(handler) or None, what="the handler's end", timeout_s=10)


def test_processes_started_by_a_handler_end_with_it(mme_server: Servers, mme_models: Models) -> None:
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def handler(data, context): return str(child.pid), "text/plain"
"""
    server, model = mme_server(), mme_models.linear(handler=code)
    server.load(model)
    child = psutil.Process(int(ask(server, model).body))
    server.unload(model)
    wait_for(lambda: not is_alive(child) or None, what="the child's end", timeout_s=10)


COUNT_THOSE_INSIDE = """
import threading
lock, inside, most = threading.Lock(), 0, 0

def enter_and_leave():
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    threading.Event().wait(0.05)
    with lock:
        inside -= 1
    return str(most), "text/plain"
"""


@pytest.mark.parametrize(
    ("functions", "handler_requests", "one_at_a_time"),
    [
        ("def handler(data, context): return enter_and_leave()", None, False),
        ("def handler(data, context): return enter_and_leave()", 1, True),
        ("def model_fn(d): pass\ndef predict_fn(d, m): return enter_and_leave()[0]", None, True),
        ("def model_fn(d): pass\ndef predict_fn(d, m): return enter_and_leave()[0]", 8, False),
    ],
)
def test_handlers_run_as_many_requests_at_once_as_in_the_containers_or_as_configured(
    mme_server: Servers,
    mme_models: Models,
    pool: ThreadPoolExecutor,
    functions: str,
    handler_requests: int | None,
    one_at_a_time: bool,
) -> None:
    server = mme_server(handler_requests=handler_requests)
    model = mme_models.linear(handler=COUNT_THOSE_INSIDE + functions)
    server.load(model)
    replies = list(pool.map(lambda _: ask(server, model, b"1", **{"Content-Type": "application/json"}), range(16)))
    most = max(int(reply.body.strip(b'"')) for reply in replies)
    assert (most == 1) is one_at_a_time


def test_during_an_unload_a_handler_in_progress_can_call_its_model(
    mme_server: Servers, mme_models: Models, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    entered, go = tmp_path / "entered", tmp_path / "go"
    os.mkfifo(go)
    code = f"""
import pathlib, requests
def handler(data, context):
    pathlib.Path({str(entered)!r}).touch()
    pathlib.Path({str(go)!r}).read_text()
    reply = requests.post(context.rest_uri, data=data.read())
    return reply.content, "application/json"
"""
    server, model = mme_server(), mme_models.linear(handler=code)
    server.load(model)
    asked = pool.submit(server.invoke, model, [1.0])
    wait_for(lambda: entered.exists() or None, what="the handler's start", timeout_s=20)
    unloaded = pool.submit(server.unload, model)
    wait_for(lambda: server.client.get(server.identifier(model)).status == 404 or None, what="404", timeout_s=20)
    go.write_text("")
    assert asked.result() == model.answer([1.0])
    unloaded.result()


@pytest.fixture
def universal(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "inference.py").write_text(
        "import os, requests\n"
        "def handler(data, context):\n"
        "    body = data.read()\n"
        "    if body == b'die': os._exit(5)\n"
        "    if body == b'pid': return str(os.getpid()), 'text/plain'\n"
        "    return requests.post(context.rest_uri, data=body).content, 'application/json'\n"
    )
    return folder


def test_a_universal_handler_is_one_process_for_all_models(
    mme_server: Servers, mme_models: Models, universal: Path
) -> None:
    server = mme_server(code=universal)
    a, b = mme_models.fleet(2)
    own = mme_models.linear("own", handler="def handler(data, context): return 'mine', 'text/plain'")
    for model in (a, b, own):
        server.load(model)
    assert server.invoke(a, [1.0]) == a.answer([1.0])
    assert server.invoke(b, [1.0]) == b.answer([1.0])
    assert ask(server, a, b"pid").body == ask(server, b, b"pid").body
    assert ask(server, own).body == b"mine"


def test_a_universal_handler_that_dies_is_started_again(
    mme_server: Servers, mme_models: Models, universal: Path
) -> None:
    server, model = mme_server(code=universal), mme_models.linear()
    server.load(model)
    gone = ask(server, model, b"die")
    assert gone.status == 500
    assert "the universal handler is gone: its process ended (exit 5)" in error_of(gone)
    assert server.invoke(model, [1.0]) == model.answer([1.0])
    kinds = [event.kind for event in server.timeline if event.source == "server"]
    assert kinds.index("crash") < kinds.index("restart")


def test_a_server_whose_universal_handler_cannot_be_imported_does_not_start(
    mme_server: Servers, universal: Path
) -> None:
    (universal / "inference.py").write_text("import nothing_of_that_name")
    with pytest.raises(ServerStartError, match=r"universal handler.*No module named 'nothing_of_that_name'"):
        mme_server(code=universal)


def test_universal_toolkit_code_gets_a_process_for_each_model(
    mme_server: Servers, mme_models: Models, universal: Path
) -> None:
    (universal / "inference.py").write_text(
        "import os\ndef model_fn(d): return d\ndef predict_fn(data, model): return [os.getpid(), model]"
    )
    server = mme_server(code=universal)
    seen: list[Any] = []
    for model in mme_models.fleet(2):
        server.load(model)
        seen.append(ask(server, model, b"1", **{"Content-Type": "application/json"}).json())
    assert seen[0][0] != seen[1][0]
    assert server.identifier(model) in seen[1][1]


def test_a_folder_without_inference_py_is_refused_as_universal_code(mme_server: Servers, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"code=.*give a folder that holds an inference\.py"):
        mme_server(code=tmp_path)


def test_a_handlers_memory_counts_towards_the_limit(mme_server: Servers, mme_models: Models) -> None:
    server = mme_server()
    plain = mme_models.linear("plain")
    large = mme_models.linear("large", handler="kept = bytearray(b'x' * (64 << 20))\ndef handler(d, c): return '', ''")
    server.load(plain)
    server.load(large)
    loads = {
        event.model: event.detail["bytes"]
        for event in server.timeline
        if event.kind == "load" and event.source == "server"
    }
    assert loads["large"] - loads["plain"] > 60 << 20


def test_fits_includes_the_memory_of_handlers(mme_endpoint: Callable[..., Endpoint], mme_models: Models) -> None:
    handler = "kept = bytearray(b'x' * (48 << 20))\n" + ASK_THE_MODEL
    a, b, c = mme_models.fleet(3, handler=handler)
    endpoint = mme_endpoint([a, b, c], fits=2)
    for model in (a, b, a, c):
        assert endpoint.invoke(model, [1.0]) == model.answer([1.0])
    endpoint.check_evicted(b)
    endpoint.check_resident(a, c)
