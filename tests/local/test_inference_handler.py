"""`mme_handler`: a user's `inference_handler` in a process of its own. No TensorFlow here: example_project has that."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Models, Server
from pytest_mme.errors import ContractError, ServerStartError
from pytest_mme.waiting import wait_for

Handlers = Callable[..., Server]

TELLS = """
import os, pathlib
def inference_handler(data, model_name):
    there = sorted(path.name for path in pathlib.Path(os.environ["SM_MODEL_DIR"]).iterdir())
    return {"predictions": [{"data": data, "model": model_name, "there": there}]}
"""


@pytest.fixture
def handler(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a handler."""

    def write(source: str) -> Path:
        file = tmp_path / "handler.py"
        file.write_text(source)
        return file

    return write


def test_an_inference_handler_gets_the_request_and_the_name_and_finds_the_models(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    a, b = mme_models.fleet(2)
    server = mme_handler(handler(TELLS), [a, b])
    assert server.invoke(a, [1.0]) == {
        "data": {"instances": [[1.0]]},
        "model": a.name,
        "there": [a.name, b.name],
    }
    assert [model["modelName"] for model in server.list()] == [a.name, b.name]
    server.unload(a)
    with pytest.raises(ContractError, match="404"):
        server.get(a)


def test_an_imported_module_can_be_an_inference_handler(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    spec = importlib.util.spec_from_file_location("handler", handler(TELLS))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert mme_handler(module, [mme_models.linear("a")]).invoke(mme_models.linear("a"), [1.0])["model"] == "a"
    with pytest.raises(ValueError, match="not a Python file: give one that defines inference_handler"):
        mme_handler("nowhere.py", [mme_models.linear()])


def test_an_inference_handler_can_use_other_content_types(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    echo = "def inference_handler(data, model_name):\n    return data.upper(), 'text/plain'\n"
    server = mme_handler(handler(echo), [mme_models.linear("a")])
    reply = server.client.invoke("a", b"abc", {"Content-Type": "text/csv"})
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"ABC", "text/plain")


def test_an_error_fails_only_its_request_and_may_choose_the_status(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    source = "class NoSuchError(Exception):\n    status_code = 404\n"
    source += "def inference_handler(data, model_name):\n    raise NoSuchError(model_name)\n"
    model = mme_models.linear("a")
    server = mme_handler(handler(source), [model])
    with pytest.raises(ContractError, match=r"404(.|\n)*NoSuchError: a \(handler.py, line 4\)"):
        server.invoke(model, [1.0])
    assert server.ping().ok


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("", "handler.py defines neither handler, .* nor inference_handler"),
    ],
)
def test_a_server_whose_inference_handler_cannot_be_imported_does_not_start(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path], source: str, message: str
) -> None:
    with pytest.raises(ServerStartError, match=message):
        mme_handler(handler(source), [mme_models.linear()])


def test_the_process_of_an_inference_handler_is_limited_and_started_again(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    model = mme_models.linear("a")
    right = {"identity": model.answer([1]).identity, "y": model.answer([1]).value}
    source = "kept = []\ndef inference_handler(data, model_name):\n"
    source += f"    kept.append(b'x' * (data['instances'][0][0] << 20))\n    return {{'predictions': [{right}]}}\n"
    server = mme_handler(handler(source), [model], memory_mib=100)
    assert server.invoke(model, [1]) == model.answer([1])
    with pytest.raises(ContractError, match="killed for lack of memory"):
        server.invoke(model, [500])
    assert server.invoke(model, [1]) == model.answer([1])
    (death,) = [event for event in server.timeline if event.kind == "oom"]
    assert death.outcome == "SIGKILL"
    server.check_recovers(model, within_s=60, signature="SIGKILL")
    wait_for(lambda: any(event.kind == "sample" for event in server.timeline) or None, what="a sample", timeout_s=10)


def test_one_bad_model_ends_all_models_of_an_inference_handler(
    mme_handler: Handlers, mme_models: Models, handler: Callable[[str], Path]
) -> None:
    good, bad = mme_models.linear("good"), mme_models.linear("bad")
    right = {"identity": good.answer([1.0]).identity, "y": good.answer([1.0]).value}
    source = f"""
    import os
    def inference_handler(data, model_name):
        return os._exit(3) if model_name == "bad" else {{"predictions": [{right}]}}
    """
    server = mme_handler(handler(textwrap.dedent(source)), [good, bad])
    server.invoke(good, [1.0])
    with pytest.raises(ContractError):
        server.invoke(bad, [1.0])
    server.invoke(good, [1.0])
    with pytest.raises(AssertionError, match=r"^bad took others along: the whole server died at "):
        server.check_isolated(good=good, bad=bad)
    server.check_recovers(good, within_s=60)
    with pytest.raises(AssertionError, match=r"^bad died at .* s and has not replied since: bad 500 at"):
        server.check_recovers(within_s=60)
