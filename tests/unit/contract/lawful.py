"""A server that keeps the contract, in threads of this process; tests change one thing about it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pytest_mme import ContractClient, Model
from pytest_mme.contract import routes
from pytest_mme.contract.conformance.judge import Limits, Specimens, Subject

PAGE = 100
QUICK = Limits(ping_s=1, load_s=1, unload_s=1, invoke_s=10, look_s=1)
"""For servers that hang on purpose."""

Response = tuple[int, Any]
"""The status and the body: bytes, or an iterator of them, as they are; anything else as JSON."""


class Lawful:
    """The contract, in memory. It recognises the models of *specimens* by the content of their files."""

    content_type: str | None = "application/json"

    def __init__(self, specimens: Specimens) -> None:
        self.specimens = (specimens.first, specimens.second, specimens.heavy)
        self.loaded: dict[str, tuple[str, Model]] = {}
        self.released = threading.Event()
        """Set when the test is over: calls that hang may go on."""
        self.lock = threading.Lock()

    def ping(self) -> Response:
        return 200, b""

    def list(self, token: str) -> Response:
        start = int(token or 0)
        found = [self.described(identifier) for identifier in self.loaded]
        following = {"nextPageToken": str(start + PAGE)} if len(found) > start + PAGE else {}
        return 200, {"models": found[start : start + PAGE], **following}

    def described(self, identifier: str) -> Any:
        return {"modelName": identifier, "modelUrl": self.loaded[identifier][0]}

    def get(self, identifier: str) -> Response:
        return (200, self.described(identifier)) if identifier in self.loaded else self.missing()

    def missing(self) -> Response:
        return 404, {"error": "not loaded"}

    def load(self, identifier: str, url: str) -> Response:
        with self.lock:
            if identifier in self.loaded:
                return 409, {"error": "already loaded"}
            if (model := self.model_in(url)) is None:
                return self.refused(identifier, url)
            self.loaded[identifier] = url, model
        return 200, {}

    def refused(self, identifier: str, url: str) -> Response:
        return 500, {"error": "cannot be loaded"}

    def model_in(self, url: str) -> Model | None:
        path = Path(url, "1", "saved_model.pb")
        content = path.read_bytes() if path.exists() else b""
        return next((model for model in self.specimens if model.answer([1.0]).identity.encode() in content), None)

    def unload(self, identifier: str) -> Response:
        with self.lock:
            return self.missing() if self.loaded.pop(identifier, None) is None else (200, {})

    def invoke(self, identifier: str, body: bytes, headers: Mapping[str, str]) -> Response:
        if identifier not in self.loaded:
            return self.missing()
        try:
            return self.predicted(identifier, json.loads(body)["instances"][0])
        except (ValueError, TypeError, KeyError):
            return self.unfit(identifier)

    def predicted(self, identifier: str, x: Any) -> Response:
        expected = self.loaded[identifier][1].answer(x)
        return 200, {"predictions": [{"identity": expected.identity, "y": expected.value}]}

    def unfit(self, identifier: str) -> Response:
        return 400, {"error": "not what the model takes"}

    def used_bytes(self) -> int:
        return sum((10 + model.spec.weights_mib) << 20 for _, model in self.loaded.values() if model.spec)

    def respond(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """The response to any request."""
        url = urlsplit(path)
        match (method, *url.path.strip("/").split("/")):
            case ("GET", "ping"):
                return self.ping()
            case ("GET", "models"):
                return self.list(parse_qs(url.query).get("next_page_token", [""])[0])
            case ("POST", "models"):
                request = json.loads(body)
                return self.load(request["model_name"], request["url"])
            case ("GET", "models", identifier):
                return self.get(identifier)
            case ("DELETE", "models", identifier):
                return self.unload(identifier)
            case ("POST", "models", identifier, "invoke"):
                return self.invoke(identifier, body, headers)
        return 404, b"no such path"


@contextlib.contextmanager
def subject(server: Lawful, models: Path) -> Iterator[Subject]:
    """The server over HTTP on a free port, for a judge."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    client = ContractClient(routes.origin("127.0.0.1", http.server_address[1]))
    try:
        yield Subject(client=client, models=models, place=str, used_bytes=server.used_bytes)
    finally:
        client.close()
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(server: Lawful) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: the kernel lets a second one wait for 40 ms

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, found = server.respond(self.command, self.path, body, dict(self.headers))
            content = found if isinstance(found, bytes | Iterator) else json.dumps(found).encode()
            self.send_response(status)
            if isinstance(content, bytes):
                self.send_header("Content-Length", str(len(content)))
            if server.content_type:
                self.send_header("Content-Type", server.content_type)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the judge need not wait for the end
                for piece in [content] if isinstance(content, bytes) else content:
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_GET = do_POST = do_DELETE = respond  # noqa: N815  http.server names them so

        def log_message(self, *_: object) -> None:
            """Not on the tests' output."""

    return Handler
