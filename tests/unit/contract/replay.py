"""Containers that reply as recorded, over HTTP on a free port, and remember what was done to them."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.contract.deviations import Call
from pytest_mme.contract.dialects import CONTRACT, MULTI_MODEL_SERVER, TENSORFLOW_A, TENSORFLOW_B, TENSORFLOW_C, Dialect

TRANSCRIPTS = Path(__file__).parents[2] / "transcripts"
RECORDED = {"A": TENSORFLOW_A, "C": TENSORFLOW_C, "M": MULTI_MODEL_SERVER}

Response = tuple[int, bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exchange:
    """One step of a transcript."""

    step: str
    call: Call
    model: str | None
    reply: Reply | None
    """None when no reply came within 70 s."""


@cache
def transcript(letter: str) -> dict[str, Exchange]:
    """The exchanges of one container by their step, in order."""
    (path,) = TRANSCRIPTS.glob(f"{letter}-*.jsonl")
    refused = set[str]()
    steps = [step for line in path.read_text().splitlines() if "method" in (step := json.loads(line))]
    return {step["step"]: _exchange(step, refused) for step in steps}


def _exchange(step: dict[str, Any], refused: set[str]) -> Exchange:
    """*refused*: the models whose last load was refused, which is updated."""
    model, call = _call_of(step)
    reply = Reply(step["status"], step["body"].encode(), step["headers"], step["seconds"]) if "status" in step else None
    again = model in refused
    if call == "load" and model and reply:
        (refused.discard if reply.ok else refused.add)(model)
        call = "load again" if again else "load"
    elif call == "unload" and again:
        call = "clean up"
    return Exchange(step=step["step"], call=call, model=model, reply=reply)


def _call_of(step: dict[str, Any]) -> tuple[str | None, Call]:
    match (step["method"], *step["path"].strip("/").split("/")):
        case ("GET", "ping"):
            return None, "ping"
        case ("GET", "models"):
            return None, "list"
        case ("POST", "models"):
            body = step["request"]
            return body["model_name"] if isinstance(body, dict) else None, "load"
        case ("GET", "models", model):
            return model, "get"
        case ("DELETE", "models", model):
            return model, "unload"
        case ("POST", "models", model, "invoke"):
            return model, "invoke"
    raise AssertionError(step)


class Container:
    """The contract, with the deviations of a recorded container. Models have their name in a file of their folder."""

    def __init__(self, dialect: Dialect = CONTRACT, *, recorded: str = "M", room: int = 1000) -> None:
        """*room*: how many models fit. *recorded*: the letter of the transcript that its replies are from."""
        self.dialect, self.room, self._transcript = dialect, room, transcript(recorded)
        self.loaded: dict[str, str] = {}
        """The folder of each registered model, by id."""
        self.dead = set[str]()
        """The ids of registered models without a process."""
        self.calls: list[str] = []
        """Calls other than lists, gets and pings: `load NAME`, `unload NAME`, `invoke NAME`, with the status."""
        self.corrupt = set[str]()
        """Names of models that never load."""
        self.lock = threading.Lock()

    def kill(self, name: str) -> None:
        """SIGKILL the process of a model."""
        self.dead |= {identifier for identifier, folder in self.loaded.items() if _name(folder) == name}

    def recorded(self, step: str, identifier: str = "") -> Response:
        """The reply that was recorded at *step*, with the id of this model in it."""
        exchange = self._transcript[step]
        assert exchange.reply is not None
        body = exchange.reply.body.replace((exchange.model or "none").encode(), identifier.encode())
        return exchange.reply.status, body

    def ping(self) -> Response:
        return self.recorded("ping")

    def list(self, token: str) -> Response:
        """Pages of 100; when the last one is full, an empty one follows."""
        start = int(token or 0)
        entries = [{"modelName": name, "modelUrl": url} for name, url in self.loaded.items()][start : start + 100]
        following = {"nextPageToken": str(start + 100)} if len(entries) == 100 else {}
        return 200, json.dumps({"models": entries, **following}).encode()

    def get(self, identifier: str) -> Response:
        return self.recorded("get, loaded" if identifier in self.loaded else "get, not loaded", identifier)

    def load(self, identifier: str, url: str) -> Response:
        if identifier in self.loaded:
            return self.recorded("load the same name twice", identifier)
        if _name(url) in self.corrupt or len(self.loaded) >= self.room:
            return self.cannot_load(identifier, url)
        self.loaded[identifier] = url
        return self.recorded("load", identifier)

    def cannot_load(self, identifier: str, url: str) -> Response:
        """A model that does not fit stays behind without a process."""
        if _name(url) not in self.corrupt:
            self.loaded[identifier] = url
            self.dead.add(identifier)
            return 507, b'{"code": 507}'  # made up: lack of memory is not in the transcripts
        return self.recorded("load, saved_model.pb is corrupt", identifier)

    def unload(self, identifier: str) -> Response:
        if self.loaded.pop(identifier, None) is None:
            return self.recorded("unload, not loaded", identifier)
        self.dead.discard(identifier)
        return 200, b"{}"

    def invoke(self, identifier: str) -> Response:
        if identifier not in self.loaded:
            return self.recorded("invoke, not loaded", identifier)
        return self.no_process(identifier) if identifier in self.dead else self.recorded("invoke", identifier)

    def no_process(self, identifier: str) -> Response:
        body = {"code": 503, "message": f"No worker is available to serve request: {identifier}"}
        return 503, json.dumps(body).encode()  # the words are from the source: in the transcript it did not reply

    def respond(self, method: str, path: str, body: bytes) -> Response:
        """The response to any request, one at a time."""
        url = urlsplit(path)
        with self.lock:
            match (method, *url.path.strip("/").split("/")):
                case ("GET", "ping"):
                    return self.ping()
                case ("GET", "models"):
                    return self.list(parse_qs(url.query).get("next_page_token", [""])[0])
                case ("GET", "models", identifier):
                    return self.get(identifier)
                case ("POST", "models"):
                    load = json.loads(body)
                    return self._noted("load", _name(load["url"]), self.load(load["model_name"], load["url"]))
                case ("DELETE", "models", identifier):
                    name = self._name_of(identifier)
                    return self._noted("unload", name, self.unload(identifier))
                case ("POST", "models", identifier, "invoke"):
                    name = self._name_of(identifier)
                    return self._noted("invoke", name, self.invoke(identifier))
        return 404, b"no such path"

    def _name_of(self, identifier: str) -> str:
        return _name(self.loaded[identifier]) if identifier in self.loaded else "?"

    def _noted(self, call: str, name: str, response: Response) -> Response:
        self.calls.append(f"{call} {name} {response[0]}")
        return response


class TensorFlow(Container):
    """AWS's handlers: a model whose process is gone stays registered, and `GET /models` fails for it."""

    def __init__(self, dialect: Dialect = TENSORFLOW_B, **fields: Any) -> None:
        super().__init__(dialect, **{"recorded": "A", **fields})

    def list(self, token: str) -> Response:
        if self.dead:
            return self.recorded("list after the second load")
        return 200, json.dumps({identifier: {"model_version_status": []} for identifier in self.loaded}).encode()

    def cannot_load(self, identifier: str, url: str) -> Response:
        return 408, b"Timed out after 20 seconds"  # of 2.12 to 2.19: read in the source

    def no_process(self, identifier: str) -> Response:
        return self.recorded("invoke after the second load", identifier)


class TensorFlow21(TensorFlow):
    """Up to 2.11: a load that fails ends the handler, which forgets all models and loads none of their ids again."""

    def __init__(self, dialect: Dialect = TENSORFLOW_A, **fields: Any) -> None:
        super().__init__(dialect, **fields)
        self.spoiled = set[str]()

    def load(self, identifier: str, url: str) -> Response:
        if identifier not in self.spoiled:
            return super().load(identifier, url)
        self.loaded[identifier] = url
        self.dead.add(identifier)
        return self.recorded("load the corrupt one again", identifier)

    def cannot_load(self, identifier: str, url: str) -> Response:
        self.spoiled |= {identifier, *self.loaded}
        self.loaded.clear()
        self.dead.clear()
        return self.recorded("load, saved_model.pb is corrupt")

    def unload(self, identifier: str) -> Response:
        if identifier in self.spoiled:
            return self.recorded("unload, not loaded", identifier)
        return super().unload(identifier)


class TensorFlow220(TensorFlow):
    """2.20: forgets a model whose process is gone at the next request to it."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(TENSORFLOW_C, **{"recorded": "C", **fields})

    def list(self, token: str) -> Response:
        return self.recorded("list after the kill") if self.dead else super().list(token)

    def cannot_load(self, identifier: str, url: str) -> Response:
        return self.recorded("load, saved_model.pb is corrupt", identifier)

    def no_process(self, identifier: str) -> Response:
        del self.loaded[identifier]
        self.dead.discard(identifier)
        return self.recorded("invoke right after every model process was killed", identifier)


class MultiModelServer(Container):
    """multi-model-server: a model that did not fit stays registered, without a worker."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(MULTI_MODEL_SERVER, **fields)


class LateGhost(MultiModelServer):
    """multi-model-server that is still taking the failed worker down when the model is deleted."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self._coming: dict[str, str] = {}

    def cannot_load(self, identifier: str, url: str) -> Response:
        response = super().cannot_load(identifier, url)
        self._coming[identifier] = self.loaded.pop(identifier)
        return response

    def unload(self, identifier: str) -> Response:
        response = super().unload(identifier)
        self.loaded |= {identifier: self._coming.pop(identifier)} if identifier in self._coming else {}
        return response


def _name(folder: str) -> str:
    return (Path(folder) / "name").read_text()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # the default, 5, resets some of many connections that come at once


@contextmanager
def serving(container: Container) -> Iterator[ContractClient]:
    """A client of *container*."""
    http = _Server(("127.0.0.1", 0), _handler(container))
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    client = ContractClient(routes.origin("127.0.0.1", http.server_address[1]))
    try:
        yield client
    finally:
        client.close()
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(container: Container) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = container.respond(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = respond  # noqa: N815  http.server names them so

        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    return Handler
