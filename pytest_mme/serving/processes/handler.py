"""The process of a user's `inference.py`: `python -m pytest_mme.serving.processes.handler FD`, started by the zygote.

The process is a fresh Python that may import anything. Beyond the standard library it has loaded only orjson when the
user's code begins. Sources: AWS's TensorFlow containers (`handler`, or `input_handler` and `output_handler`) and
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
import time
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
"""The exit status when the user's code has closed the socket to the front."""

Response = tuple[bytes, str, int]
"""A reply's body, content type and status."""


class Context(NamedTuple):
    """The context that AWS's TensorFlow containers give a handler with each request, and the archive's name."""

    model_name: str
    """The opaque id that the platform gave the model; `target_model` is the archive's name."""
    model_version: str | None
    method: str | None
    rest_uri: str
    """The URL of the model itself in TensorFlow Serving's REST API."""
    grpc_port: int | None
    """None: the embedded server does not serve gRPC."""
    channel: object
    """None, as in AWS's containers in multi-model mode."""
    custom_attributes: str | None
    request_content_type: str
    accept_header: str
    content_length: int
    target_model: str | None
    """`X-Amzn-SageMaker-Target-Model` (assumed: AWS's containers hand handlers no other header)."""


class UnusableCodeError(Exception):
    """The code has none of the functions of a handler, or one returned something that is not a reply."""


class UserCode:
    """The code of one `inference.py`, in one of the styles below."""

    style: str
    at_once: int
    """How many requests at once it gets in the real container."""

    def load(self, directory: str) -> None:
        """Load the model in *directory*, in the style that loads it itself."""

    def invoke(self, body: bytes, context: Context) -> Response:
        """Return the reply to a request."""
        raise NotImplementedError


class HandlerFunction(UserCode):
    """`handler(data, context)`."""

    style = "handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._handler = module.handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Pass the body as a stream, as the containers do."""
        return *_body_and_type(self._handler(io.BytesIO(body), context), "handler", context.accept_header), 200


class InputOutputHandlers(UserCode):
    """`input_handler(data, context)`, the model, `output_handler(response, context)`."""

    style = "input_handler and output_handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._input, self._output = module.input_handler, module.output_handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Call the model in between; the reply has the model's status (as in the containers from 2.20 on)."""
        import requests

        data = self._input(io.BytesIO(body), context)
        response = requests.post(context.rest_uri, data=data)
        reply = _body_and_type(self._output(response, context), "output_handler", context.accept_header)
        return *reply, response.status_code


class ToolkitFunctions(UserCode):
    """`model_fn(model_dir)`, `input_fn(body, content_type)`, `predict_fn(data, model)`, `output_fn(prediction, accept)`."""

    style = "toolkit"
    at_once = 1  # a worker of the multi-model-server

    def __init__(self, module: ModuleType) -> None:
        from pytest_mme.serving.processes import toolkit

        self._model_fn, self._predict_fn = module.model_fn, module.predict_fn
        self._input_fn = getattr(module, "input_fn", toolkit.decode)
        self._output_fn = getattr(module, "output_fn", toolkit.encode)

    def load(self, directory: str) -> None:
        """Call `model_fn`."""
        self._model = self._model_fn(directory)

    def invoke(self, body: bytes, context: Context) -> Response:
        """Call the other three in turn. An error with a `status_code`, like the toolkit's, decides the status."""
        accept = _JSON if context.accept_header == "*/*" else context.accept_header
        data = self._input_fn(body, context.request_content_type)
        output = self._output_fn(self._predict_fn(data, self._model), accept)
        return *_body_and_type(output if isinstance(output, tuple) else (output, accept), "output_fn", accept), 200


class InferenceHandler(UserCode):
    """`inference_handler(data, model_name)`: gets the body, decoded when it is JSON, and returns a JSON value."""

    style = "inference_handler"
    at_once = _REQUESTS_AT_ONCE

    def __init__(self, module: ModuleType) -> None:
        self._handler = module.inference_handler

    def invoke(self, body: bytes, context: Context) -> Response:
        """Encode what it returns, unless that is a body with its content type."""
        from pytest_mme.serving.processes import toolkit

        is_json = context.request_content_type.partition(";")[0].strip() == _JSON
        output = self._handler(orjson.loads(body) if is_json else body, context.model_name)
        if isinstance(output, tuple):
            return *_body_and_type(output, "inference_handler", context.accept_header), 200
        return toolkit.encode(output, _JSON), _JSON, 200


def _body_and_type(output: Any, function: str, accept: str) -> tuple[bytes, str]:
    match output:
        case (str() | bytes() | bytearray() as body, str() | None as content_type) if (content_type or "").isascii():
            return body.encode() if isinstance(body, str) else bytes(body), content_type or accept
    raise UnusableCodeError(
        f"{function} returned {output!r:.200}; it must return (body, content type), str or bytes first"
    )


def import_code(code: Path) -> UserCode:
    """Import `inference.py` in the folder *code*, with that folder and its `lib` importable, or the file *code*.

    Raises what the user's code raises, and `UnusableCodeError`.
    """
    sys.dont_write_bytecode = True  # the folder stays unchanged, and no stale bytecode is read from it
    folder, file = (code, code / "inference.py") if code.is_dir() else (code.parent, code)
    sys.path[:0] = [str(path) for path in (folder / "lib", folder) if path.is_dir()]
    spec = importlib.util.spec_from_file_location("inference", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["inference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _in_its_style(module)


def _in_its_style(module: ModuleType) -> UserCode:
    has = {name for name, value in vars(module).items() if callable(value)}
    if "handler" in has:
        return HandlerFunction(module)
    if {"input_handler", "output_handler"} <= has:
        return InputOutputHandlers(module)
    if {"model_fn", "predict_fn"} <= has:
        return ToolkitFunctions(module)
    if "inference_handler" in has:
        return InferenceHandler(module)
    raise UnusableCodeError(
        f"{Path(str(module.__file__)).name} defines neither handler, nor input_handler and output_handler, nor model_fn "
        "and predict_fn, nor inference_handler"
    )


class HandlerProcess:
    """Serves the front's requests: `open`, `load`, `invoke`."""

    _folder: Path
    _code: UserCode
    _pool: ThreadPoolExecutor

    def __init__(self, front: socket.socket) -> None:
        self._front = ChannelServer(front)

    def run(self) -> None:
        """Take requests until the front hangs up. The user's code is imported in this thread, and called in others."""
        self._front.serve(self._take)

    def _take(self, number: int, head: Head, body: bytes) -> None:
        if head["operation"] == "invoke":
            self._pool.submit(self._invoke, number, head, body)
            return
        reply: Head = {}
        try:
            if head["operation"] == "open":
                code = Path(head["code"])
                self._folder = code if code.is_dir() else code.parent
                self._code = import_code(code)
                self._pool = ThreadPoolExecutor(head["at_once"] or self._code.at_once, "request")
                reply = {"style": self._code.style}
            else:
                self._code.load(head["directory"])
        except BaseException as error:  # noqa: BLE001  SystemExit comes from user code, too
            kind = "RESOURCE_EXHAUSTED" if isinstance(error, MemoryError) else "USER_CODE"
            reply = {"code": kind, "error": self._described(error)}
        self._reply(number, reply)

    def _invoke(self, number: int, head: Head, body: bytes) -> None:
        began_s = time.monotonic()
        try:
            content, content_type, status = self._code.invoke(body, _context(head, body))
        except BaseException as error:  # noqa: BLE001  SystemExit comes from user code, too
            content, content_type = orjson.dumps({"error": self._described(error)}), _JSON
            status = _status(error)
        worked = began_s, time.monotonic()
        self._reply(number, {"status": status, "content_type": content_type, "worked": worked}, content)

    def _reply(self, number: int, head: Head, body: bytes = b"") -> None:
        """Reply; when the user's code has closed the socket, end the process, which the front notices."""
        try:
            self._front.reply(number, head, body)
        except BaseException:  # noqa: BLE001
            os._exit(CUT_OFF)

    def _described(self, error: BaseException) -> str:
        """The error and the line of user code that raised it; the log gets the whole traceback."""
        with contextlib.suppress(Exception):  # the user's code may have closed stderr
            traceback.print_exc()
        text = type(error).__name__
        with contextlib.suppress(Exception):  # `__str__` may be user code, too
            text += f": {error}" if str(error) else ""
        text = text.encode(errors="replace").decode()  # JSON may bring in lone surrogates, which UTF-8 cannot express
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(self._folder)]
        if not own:
            return text
        name = Path(own[-1].filename).relative_to(self._folder)
        return f"{text} ({name}, line {own[-1].lineno})"


def _status(error: BaseException) -> int:
    """The status of an error, as in the multi-model-server and the inference toolkit."""
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
        del sys.path[0]  # user code must not import from the folder that the server was started in
    os.set_inheritable(descriptor, False)
    logging.basicConfig(level=logging.INFO)  # as in AWS's containers: the log shows what user code logs
    status = CUT_OFF
    try:
        HandlerProcess(socket.socket(fileno=descriptor)).run()
        status = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # user code may have left threads


if __name__ == "__main__":
    main(int(sys.argv[1]))
