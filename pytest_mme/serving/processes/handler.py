"""A user's `inference.py` in a process of its own: `python -m pytest_mme.serving.processes.handler FD`, started by the zygote.

The process is a fresh Python that may import anything. Beyond the standard library it has loaded nothing but orjson when
the user's code begins. Sources: AWS's TensorFlow containers (`handler`, or `input_handler` and `output_handler`) and
the SageMaker inference toolkit (`model_fn`, `input_fn`, `predict_fn`, `output_fn`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import socket
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from pytest_mme.serving.processes.channel import ChannelServer, Head

_REQUESTS_AT_ONCE = 64
_JSON = "application/json"

CUT_OFF = 74  # EX_IOERR of sysexits.h
"""How the process ends when the user's code has closed what it talks to the front by."""

Response = tuple[Any, str, int]
"""Body, content type, status."""


class Context(NamedTuple):
    """What AWS's TensorFlow containers tell a handler of a request, and the archive's name."""

    model_name: str
    """The opaque id that the platform gave the model; `target_model` says which archive that is."""
    model_version: str | None
    method: str | None
    rest_uri: str
    """Where the model itself answers TensorFlow Serving's REST calls."""
    grpc_port: int | None
    """None: the embedded server speaks no gRPC."""
    channel: object
    """None, as in AWS's containers in multi-model mode."""
    custom_attributes: str | None
    request_content_type: str
    accept_header: str
    content_length: int
    target_model: str | None
    """`X-Amzn-SageMaker-Target-Model` (assumed: AWS's containers hand handlers no other header)."""


class UnusableCodeError(Exception):
    """The code has none of the functions that a handler is made of, or one answered what no handler may."""


class Code:
    """One style of user's code."""

    style: str
    at_once: int
    """How many requests it takes at once in the real container."""

    def load(self, directory: str) -> None:
        """Load the model in *directory*, where it is the code that does that."""

    def invoke(self, body: bytes, context: Context) -> Response:
        """Answer a request."""
        raise NotImplementedError


class OneHandler(Code):
    """`handler(data, context)`."""

    style = "handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._handler = module.handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Hand over the body as a stream, as the containers do."""
        return *_body_and_type(self._handler(io.BytesIO(body), context), "handler", context.accept_header), 200


class TwoHandlers(Code):
    """`input_handler(data, context)`, the model, `output_handler(response, context)`."""

    style = "input_handler and output_handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._input, self._output = module.input_handler, module.output_handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Ask the model in between, and keep its status when it refuses (as the containers do from 2.20 on)."""
        import requests

        asked = self._input(io.BytesIO(body), context)
        response = requests.post(context.rest_uri, data=asked)
        answer = _body_and_type(self._output(response, context), "output_handler", context.accept_header)
        return *answer, response.status_code


class Toolkit(Code):
    """`model_fn(model_dir)`, `input_fn(body, content_type)`, `predict_fn(data, model)`, `output_fn(prediction, accept)`."""

    style = "toolkit"
    at_once = 1  # a worker of the multi-model-server

    def __init__(self, module: ModuleType) -> None:
        from pytest_mme.serving.processes import toolkit

        self._model_fn, self._predict_fn = module.model_fn, module.predict_fn
        self._input_fn = getattr(module, "input_fn", toolkit.decode)
        self._output_fn = getattr(module, "output_fn", toolkit.encode)

    def load(self, directory: str) -> None:
        """`model_fn`."""
        self._model = self._model_fn(directory)

    def invoke(self, body: bytes, context: Context) -> Response:
        """The other three, one after the other. An error that carries a `status_code`, like the toolkit's, sets it."""
        accept = _JSON if context.accept_header == "*/*" else context.accept_header
        data = self._input_fn(body, context.request_content_type)
        answer = self._output_fn(self._predict_fn(data, self._model), accept)
        return *_body_and_type(answer if isinstance(answer, tuple) else (answer, accept), "output_fn", accept), 200


class InferenceHandler(Code):
    """`inference_handler(data, model_name)`: the body, where it is JSON what that says; answers what JSON can say."""

    style = "inference_handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._handler = module.inference_handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Its own answer, or the body and content type that it made of it."""
        from pytest_mme.serving.processes import toolkit

        is_json = context.request_content_type.partition(";")[0].strip() == _JSON
        answer = self._handler(orjson.loads(body) if is_json else body, context.model_name)
        if isinstance(answer, tuple):
            return *_body_and_type(answer, "inference_handler", context.accept_header), 200
        return toolkit.encode(answer, _JSON), _JSON, 200


def _body_and_type(answered: Any, function: str, accept: str) -> tuple[bytes, str]:
    match answered:
        case (str() | bytes() | bytearray() as body, str() | None as content_type) if (content_type or "").isascii():
            return body.encode() if isinstance(body, str) else bytes(body), content_type or accept
    raise UnusableCodeError(
        f"{function} answered {answered!r:.200}; it must return (body, content type), str or bytes first"
    )


def import_code(code: Path) -> Code:
    """Import `inference.py` in the folder *code*, which sees itself and `lib` there, or the file *code*.

    Whatever that raises is the user's.
    """
    sys.dont_write_bytecode = True  # the folder stays as it was, and no stale bytecode is ever read from it
    folder, file = (code, code / "inference.py") if code.is_dir() else (code.parent, code)
    sys.path[:0] = [str(path) for path in (folder / "lib", folder) if path.is_dir()]
    spec = importlib.util.spec_from_file_location("inference", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["inference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _in_its_style(module)


def _in_its_style(module: ModuleType) -> Code:
    has = {name for name, value in vars(module).items() if callable(value)}
    if "handler" in has:
        return OneHandler(module)
    if {"input_handler", "output_handler"} <= has:
        return TwoHandlers(module)
    if {"model_fn", "predict_fn"} <= has:
        return Toolkit(module)
    if "inference_handler" in has:
        return InferenceHandler(module)
    raise UnusableCodeError(
        f"{Path(str(module.__file__)).name} defines neither handler, nor input_handler and output_handler, nor model_fn "
        "and predict_fn, nor inference_handler"
    )


class HandlerProcess:
    """Answers the front's requests: `open`, `load`, `invoke`."""

    _folder: Path
    _code: Code
    _pool: ThreadPoolExecutor

    def __init__(self, front: socket.socket) -> None:
        self._front = ChannelServer(front)

    def run(self) -> None:
        """Take requests until the front hangs up. The user's code is imported in this thread, and asked in others."""
        self._front.serve(self._take)

    def _take(self, number: int, head: Head, body: bytes) -> None:
        if head["operation"] == "invoke":
            self._pool.submit(self._invoke, number, head, body)
        else:
            self._prepare(number, head)

    def _prepare(self, number: int, head: Head) -> None:
        try:
            answer = self._open(head) if head["operation"] == "open" else self._load(head)
        except BaseException as error:  # noqa: BLE001  SystemExit, too, is the user's
            code = "RESOURCE_EXHAUSTED" if isinstance(error, MemoryError) else "USER_CODE"
            answer = {"code": code, "error": self._told(error)}
        self._reply(number, answer)

    def _open(self, head: Head) -> Head:
        code = Path(head["code"])
        self._folder = code if code.is_dir() else code.parent
        self._code = import_code(code)
        self._pool = ThreadPoolExecutor(head["at_once"] or self._code.at_once, "request")
        return {"style": self._code.style}

    def _load(self, head: Head) -> Head:
        self._code.load(head["directory"])
        return {}

    def _invoke(self, number: int, head: Head, body: bytes) -> None:
        try:
            content, content_type, status = self._code.invoke(body, _context(head, body))
        except BaseException as error:  # noqa: BLE001  SystemExit, too, is the user's
            content, content_type = orjson.dumps({"error": self._told(error)}), _JSON
            status = _status(error)
        self._reply(number, {"status": status, "content_type": content_type}, content)

    def _reply(self, number: int, head: Head, body: bytes = b"") -> None:
        """Answer; a process that cannot, for its code has closed the way to the front, ends, and the front hears that."""
        try:
            self._front.reply(number, head, body)
        except BaseException:  # noqa: BLE001
            os._exit(CUT_OFF)

    def _told(self, error: BaseException) -> str:
        """The error, and where in the user's code it came from; the whole of it goes to the log."""
        with contextlib.suppress(Exception):  # the user's code may have closed stderr
            traceback.print_exc()
        words = type(error).__name__
        with contextlib.suppress(Exception):  # its own words are the user's code, too
            words += f": {error}" if str(error) else ""
        words = words.encode(
            errors="replace"
        ).decode()  # lone surrogates, which JSON can bring in and UTF-8 not express
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(self._folder)]
        if not ours:
            return words
        name = Path(ours[-1].filename).relative_to(self._folder)
        return f"{words} ({name}, line {ours[-1].lineno})"


def _status(error: BaseException) -> int:
    """As the multi-model-server and the inference toolkit have it."""
    if isinstance(error, MemoryError):
        return 507
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else 500


def _context(head: Head, body: bytes) -> Context:
    return Context(
        model_name=head["model"],
        model_version=None if head["version"] is None else str(head["version"]),
        method=head["method"],
        rest_uri=head["rest_uri"],
        grpc_port=None,
        channel=None,
        custom_attributes=head["attributes"],
        request_content_type=head["content_type"],
        accept_header=head["accept"],
        content_length=len(body),
        target_model=head["target"],
    )


def main(descriptor: int) -> None:
    """Serve the front at the other end of *descriptor* until it hangs up."""
    if not getattr(sys.flags, "safe_path", False):  # which Python 3.10 does not have
        del sys.path[0]  # the folder that the server was started in is none of the user's code
    os.set_inheritable(descriptor, False)
    logging.basicConfig(level=logging.INFO)  # as in AWS's containers: what the user's code logs is seen
    status = CUT_OFF
    try:
        HandlerProcess(socket.socket(fileno=descriptor)).run()
        status = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # whatever threads the user's code has left


if __name__ == "__main__":
    main(int(sys.argv[1]))
