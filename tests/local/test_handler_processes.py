"""The processes of users' handlers: what they see, what they may break, and that they and all they start end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_mme import Endpoint, Model, Models, Server
from pytest_mme.archives.archive import extract
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply
from pytest_mme.errors import ContractError
from pytest_mme.serving.config import ServingConfig
from pytest_mme.waiting import wait_for
from tests.lacking import needs_compiler
from tests.local.conftest import process_of, worker_of
from tests.local.gate import Gate
from tests.processes import is_alive, survivors

Servers = Callable[..., Server]

ASK_THE_MODEL = """
import requests

def handler(data, context):
    return requests.post(context.rest_uri, data=data.read()).content, "application/json"
"""
RUN_WHAT_IS_SENT = """
def handler(data, context):
    variables = {}
    exec(data.read(), variables)
    return str(variables.get("answer")), "text/plain"
"""


def run(server: Server, model: Model, program: str) -> Reply:
    return server.client.invoke(server.identifier(model), program.encode(), timeout_s=30)


@pytest.fixture
def runner(mme_models: Models) -> Model:
    """A model whose handler runs the program in a request."""
    return mme_models.linear("runner", handler=RUN_WHAT_IS_SENT)


@pytest.mark.parametrize("apart", ["", ", start_new_session=True", ", preexec_fn=os.setpgrp"])
def test_processes_started_by_a_handler_are_gone_after_its_unload(
    mme_server: Servers, runner: Model, apart: str
) -> None:
    server = mme_server()
    server.load(runner)
    sleeping = f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']{apart})"
    child = psutil.Process(int(run(server, runner, f"import os, subprocess, sys\nanswer = {sleeping}.pid").body))
    server.unload(runner)
    assert not is_alive(child)


def test_orphans_of_a_living_handler_survive_the_end_of_another(
    mme_server: Servers, mme_models: Models, tmp_path: Path
) -> None:
    server = mme_server()
    first, second = (mme_models.linear(name, handler=RUN_WHAT_IS_SENT) for name in ("first", "second"))
    server.load(first)
    server.load(second)
    pid_file = tmp_path / "pid"
    daemon = (
        "import os, subprocess, sys\n"
        "if os.fork() == 0:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    open({str(tmp_path / 'draft')!r}, 'w').write(str(child.pid))\n"
        f"    os.rename({str(tmp_path / 'draft')!r}, {str(pid_file)!r})\n"
        "    os._exit(0)\n"
    )
    run(server, first, daemon).expect("start")
    written = wait_for(lambda: (pid_file.exists() and pid_file.read_text()) or None, what="the pid", timeout_s=20)
    child = psutil.Process(int(written))
    server.unload(second)
    assert is_alive(child)
    server.unload(first)
    assert not is_alive(child)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", 500, "Odd"),
        ("import sys; sys.stderr.close(); raise KeyError('x')", 500, "KeyError: 'x'"),
        ("import os; os.closerange(3, 256)", 500, "its handler ended (exit 74)"),
        (
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'junk' * 99)\n    except OSError: pass",
            500,
            "is gone",
        ),
    ],
    ids=["its words raise", "stderr is closed", "everything is closed", "nonsense in everything"],
)
def test_requests_end_whatever_the_code_breaks(
    mme_server: Servers, mme_models: Models, runner: Model, program: str, status: int, words: str
) -> None:
    server, other = mme_server(), mme_models.linear("other")
    server.load(other)
    server.load(runner)
    reply = run(server, runner, program)
    assert reply.status == status
    assert words in reply.json()["error"]
    assert server.invoke(other, [1.0]) == other.answer([1.0])


def test_a_failed_load_does_not_wait_for_threads_of_the_code(mme_server: Servers, mme_models: Models) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait).start()\nraise ValueError(chr(0xdcff))"
    server, model = mme_server(), mme_models.linear(handler=code)
    with pytest.raises(ContractError, match=r"ValueError: \? \(inference.py, line 3\)"):
        server.load(model)


@needs_compiler
def test_a_handlers_environment_and_path_are_its_own(
    mme_server: Servers, runner: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    server = mme_server(memory_mib=500, oom="tensorflow")
    server.load(runner)
    reply = run(
        server, runner, "import os, sys\nanswer = repr((dict(os.environ), sys.path, os.getcwd()))"
    ).body.decode()
    environment, path, folder = eval(reply)
    assert environment["OMP_NUM_THREADS"] == "3"
    assert {"OPENBLAS_NUM_THREADS", "LD_PRELOAD", "MME_ALLOCATOR_FD"} & set(environment) == set()
    code = str(server.running.models / server.identifier(runner) / "model" / "code")
    assert path[0] == code
    assert folder not in path


def test_temporary_files_of_a_handler_lie_in_the_servers_folder(mme_server: Servers, runner: Model) -> None:
    server = mme_server()
    server.load(runner)
    aside = Path(run(server, runner, "import tempfile\nanswer = tempfile.mkstemp()[1]").body.decode())
    assert aside.is_relative_to(server.running.models.parent)


def test_with_pythonsafepath_no_entry_of_the_path_is_lost(
    mme_server: Servers, mme_models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "on_the_path.py").write_text("ANSWER = 'found'")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "from on_the_path import ANSWER\ndef handler(data, context): return ANSWER, 'text/plain'"
    server, model = mme_server(), mme_models.linear(handler=code)
    server.load(model)
    assert server.client.invoke(server.identifier(model), b"").body == b"found"


def test_a_handler_calls_its_model_past_a_configured_proxy(
    mme_server: Servers, mme_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server, model = mme_server(), mme_models.linear(handler=ASK_THE_MODEL)
    server.load(model)
    assert server.invoke(model, [1.0]) == model.answer([1.0])


def test_a_handler_can_call_the_largest_version_number(mme_server: Servers, mme_models: Models) -> None:
    version = (1 << 63) - 1
    server, model = mme_server(), mme_models.linear(versions=(1, version), handler=ASK_THE_MODEL)
    server.load(model)
    headers = {"Content-Type": "application/json", routes.CUSTOM_ATTRIBUTES: f"tfs-model-version={version}"}
    reply = server.client.invoke(server.identifier(model), b'{"instances": [[1.0]]}', headers)
    assert reply.json()["predictions"] == [model.answer([1.0], version=version)]


def test_a_folder_with_a_dangling_link_is_loaded(mme_server: Servers, runner: Model, tmp_path: Path) -> None:
    extract(runner.archive, tmp_path / "model")
    (tmp_path / "model" / "code" / ".#inference.py").symlink_to("somebody@somewhere.1234")
    mme_server().client.load("m", str(tmp_path / "model")).expect("load")


def test_a_model_whose_worker_died_is_loaded_again_into_the_same_memory(
    mme_server: Servers, mme_models: Models
) -> None:
    large = "kept = b'x' * (150 << 20)\ndef handler(data, context): return '', ''"
    server, model = mme_server(memory_mib=300), mme_models.linear(handler=large)
    for _ in range(3):
        identifier = server.load(model)
        worker_of(server, model).kill()
        wait_for(lambda: server.client.get(identifier).status == 404 or None, what="404", timeout_s=20)  # noqa: B023
        folder = server.running.models / identifier / "model"
        server.client.load(identifier, str(folder)).expect("load again")
        server.unload(model)


def test_no_handler_survives_the_death_of_the_server(mme_server: Servers, runner: Model) -> None:
    server = mme_server()
    server.load(runner)
    front = process_of(server)
    family = front.children(recursive=True)
    stuck = next(one for one in family if "pytest_mme.serving.processes.handler" in one.cmdline())
    stuck.suspend()  # it cannot notice that its lifeline has closed
    front.kill()
    assert survivors(family) == []


def test_a_clean_end_is_not_a_crash(mme_server: Servers, runner: Model, tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text(ASK_THE_MODEL)
    server = mme_server(code=tmp_path)
    server.load(runner)
    process_of(server).terminate()
    wait_for(server.running.gone, what="the end", timeout_s=20)
    assert [event.kind for event in server.timeline if event.kind in ("crash", "oom")] == []


def test_a_load_that_hangs_gets_a_reply_within_the_grace_period(
    mme_server: Servers, mme_models: Models, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    code = f"""
import pathlib, threading
def model_fn(model_dir):
    pathlib.Path({str(tmp_path / "loading")!r}).touch()
    threading.Event().wait()
def predict_fn(data, model): pass
"""
    server, model = mme_server(grace_s=0.5), mme_models.linear(handler=code)
    extract(model.archive, tmp_path / "model")
    load = pool.submit(server.client.load, "m", str(tmp_path / "model"))
    wait_for(lambda: (tmp_path / "loading").exists() or None, what="the load", timeout_s=20)
    process_of(server).terminate()
    reply = load.result(timeout=15)
    assert reply.status == 500
    assert "cannot be loaded" in reply.json()["error"]
    assert wait_for(server.running.gone, what="the end", timeout_s=15) == "the server's process ended with code 0"


def test_a_load_that_waited_for_an_unload_is_503_when_the_server_ends(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    identifier = server.load(gated)
    url = server.get(gated)["modelUrl"]
    asked = pool.submit(server.client.invoke, identifier, b'{"instances": ["%s"]}' % str(gate.path).encode())
    with gate.held():
        unload = pool.submit(server.client.unload, identifier)
        wait_for(lambda: server.client.get(identifier).status == 404 or None, what="404", timeout_s=20)
        load = http.client.HTTPConnection("127.0.0.1", server.running.facts["port"], timeout=60)
        load.request("POST", routes.MODELS, json.dumps({"model_name": identifier, "url": url}))
        assert server.ping().ok  # it came after the load: the server has read that one, too
        process_of(server).terminate()
        wait_for(
            lambda: server.client.invoke("x", b"").status == 503 or None, what="the server to be ending", timeout_s=20
        )
    assert asked.result().status == 400
    assert unload.result().status == 200
    with contextlib.closing(load):
        assert load.getresponse().status == 503


@contextmanager
def starting(config: ServingConfig) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process from its very beginning."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "pytest_mme.serving", config.to_json(), str(writing)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[writing], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("how", ["SIGTERM", "lifeline"])
def test_a_server_whose_universal_handler_imports_for_ever_can_be_stopped(tmp_path: Path, how: str) -> None:
    started = tmp_path / "started"
    (tmp_path / "inference.py").write_text(
        f"import pathlib, threading\npathlib.Path({str(started)!r}).touch()\nthreading.Event().wait()"
    )
    with starting(ServingConfig(code=str(tmp_path), lifeline_fd=0)) as process:
        wait_for(lambda: started.exists() or None, what="the import", timeout_s=20)
        family = psutil.Process(process.pid).children(recursive=True)
        began_s = time.monotonic()
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            assert process.stdin is not None
            process.stdin.close()
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began_s < 10
        assert survivors(family) == []


def test_a_universal_handler_that_imports_too_long_is_killed(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text("import threading\nthreading.Event().wait()")
    with starting(ServingConfig(code=str(tmp_path), load_s=0.5)) as process:
        assert process.wait(timeout=20) == 78


def test_fits_measures_models_whose_handlers_take_no_json(
    mme_endpoint: Callable[..., Endpoint], mme_models: Models
) -> None:
    handler = "def handler(data, context): return str(sum(map(float, data.read().split(b',')))), 'text/plain'"
    a, b = mme_models.fleet(2, handler=handler)
    endpoint = mme_endpoint([a, b], fits=1)
    for model in (a, b, a):
        assert endpoint.invoke_raw(model.key, b"1,2", content_type="text/csv").body == b"3.0"
    endpoint.check_evicted(a)


def test_handlers_get_an_ipv6_address(mme_models: Models, tmp_path: Path) -> None:
    model: Any = mme_models.linear("model", handler=ASK_THE_MODEL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / model.key).write_bytes(model.archive.read_bytes())
    shown = tmp_path / "shown.txt"
    command = [
        sys.executable,
        "-m",
        "pytest_mme.cli",
        "serve",
        str(tmp_path / "models"),
        "--port=0",
        "--host=127.0.0.2",
    ]
    with shown.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = wait_for(
            lambda: next((word for word in shown.read_text().split() if word.endswith("/models/model/invoke")), None),
            what="the model",
            timeout_s=30,
        )
        from pytest_mme import ContractClient

        client = ContractClient(url.removesuffix("/models/model/invoke"))
        assert client.invoke("model", b'{"instances": [[1.0]]}').json()["predictions"] == [model.answer([1.0])]
        client.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
