"""The HTTP front: the container contract over the table of models.

aiohttp: of the kept libraries measured (bench/http_fronts.py) uvicorn with starlette takes 0.04 ms less
of a request's 0.9; aiohttp is one dependency instead of four, and the AWS side's HTTP door runs on it, too, in a
thread of pytest's process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from pytest_mme.contract import routes
from pytest_mme.serving.http.invocation_headers import METHODS, invocation
from pytest_mme.serving.http.openapi import description
from pytest_mme.serving.table.loaded_model import LoadedModel, RefusalError
from pytest_mme.serving.table.model_table import ModelTable
from pytest_mme.serving.table.named_models import NamedModels

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""A model's id. The platform's ids are 32 hexadecimal digits."""
PAGE_TOKEN = re.compile(r"[0-9]{1,18}")
VERSION = r"[0-9]{1,19}"  # TensorFlow Serving keeps versions as int64
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Characters that no header can hold."""
_PAGE = 100
_REST = (
    routes.rest("{identifier:[^/:]+}"),
    routes.rest("{identifier:[^/:]+}", f"{{version:{VERSION}}}"),
)

log = logging.getLogger("pytest_mme")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(models: ModelTable | NamedModels) -> web.Application:
    """The server's calls, by method and path."""
    app = web.Application(client_max_size=routes.MAX_BODY_BYTES, middlewares=[_refusals_as_json])
    calls, one = Calls(models), routes.model("{identifier}")
    app.add_routes(
        [
            web.get(routes.PING, calls.ping),
            web.post(routes.MODELS, calls.load),
            web.get(routes.MODELS, calls.list),
            web.get(one, calls.get),
            web.delete(one, calls.unload),
            web.post(routes.invoke("{identifier}"), calls.invoke),
            *(web.post(rest + ":{method}", calls.predict) for rest in _REST),
            *(web.get(rest, calls.status) for rest in _REST),
            *(web.get(rest + "/metadata", calls.metadata) for rest in _REST),
            web.get(routes.MEMORY, calls.memory),
            web.post(routes.MARK, calls.mark),
            web.get(routes.OPENAPI, calls.openapi),
        ]
    )
    return app


class Calls:
    """The handlers of the contract's calls."""

    def __init__(self, models: ModelTable | NamedModels) -> None:
        self._models = models

    async def ping(self, _request: web.Request) -> web.Response:
        """Reply 200; the server ends when the zygote does."""
        return web.Response()

    async def load(self, request: web.Request) -> web.Response:
        """Load the model that the body names; reply when it can be invoked."""
        try:
            asked = orjson.loads(await _body(request))
        except orjson.JSONDecodeError as error:
            raise RefusalError(400, f"the body is not JSON: {error}") from error
        match asked:
            case {"model_name": str(identifier), "url": str(url)} if IDENTIFIER.fullmatch(identifier):
                return _json(_described(await self._models.load(identifier, url)))
        raise RefusalError(
            400,
            'the body must be {"model_name": ID, "url": FOLDER}, both strings, '
            "the ID of letters, digits, dot, dash and underscore",
        )

    async def list(self, request: web.Request) -> web.Response:
        """List the loaded models, a page at a time; the token is the number of models on the pages before."""
        token = request.query.get("next_page_token", "0")
        if not PAGE_TOKEN.fullmatch(token):
            raise RefusalError(400, f"next_page_token {token[:100]!r} is not the token of a page")
        ready, start = self._models.ready(), int(token)
        page: dict[str, Any] = {"models": [_described(model) for model in ready[start : start + _PAGE]]}
        if len(ready) > start + _PAGE:
            page["nextPageToken"] = str(start + _PAGE)
        return _json(page)

    async def get(self, request: web.Request) -> web.Response:
        """Describe one loaded model."""
        return _json(_described(self._models.get(request.match_info["identifier"])))

    async def unload(self, request: web.Request) -> web.Response:
        """Unload a model; its memory is free when the reply comes."""
        await self._models.unload(request.match_info["identifier"])
        return _json({})

    async def memory(self, _request: web.Request) -> web.Response:
        """Report `used_bytes` and `limit_bytes` of the workers."""
        return _json(await self._models.memory())

    async def mark(self, request: web.Request) -> web.Response:
        """Write a mark among the events."""
        try:
            token = (await _body(request)).decode()
        except UnicodeDecodeError as error:
            raise RefusalError(400, f"the mark is not UTF-8: {error}") from error
        self._models.mark(token)
        return web.Response()

    async def openapi(self, _request: web.Request) -> web.Response:
        """Describe all of these calls."""
        return _json(description())

    async def invoke(self, request: web.Request) -> web.Response:
        """Reply as the model does, or the user code for it."""
        identifier = request.match_info["identifier"]
        if request.transport is None:
            raise RefusalError(400, "the client has hung up")
        host, port = request.transport.get_extra_info("sockname")[:2]
        # User code reaches the model itself at the address that this request came to.
        rest_url = f"{routes.origin(host, port)}{routes.rest(identifier)}"
        reply = await self._models.invoke(identifier, invocation(request.headers, await _body(request), rest_url))
        if _UNSENDABLE.search(reply.content_type):
            raise RefusalError(500, f"the user's code replied with the content type {reply.content_type!r}")
        return web.Response(body=reply.body, status=reply.status, headers={"Content-Type": reply.content_type})

    async def predict(self, request: web.Request) -> web.Response:
        """Call the model itself, past the user's code: TensorFlow Serving's REST API."""
        method = request.match_info["method"]
        if method not in METHODS:
            raise RefusalError(400, f"Malformed request: {request.method} {request.path}")
        return await self._rest(request, "invoke", await _body(request), method=method)

    async def status(self, request: web.Request) -> web.Response:
        """Report the model's versions, in TensorFlow Serving's format."""
        return await self._rest(request, "status")

    async def metadata(self, request: web.Request) -> web.Response:
        """Report the model's signatures, in TensorFlow Serving's format."""
        return await self._rest(request, "metadata")

    async def _rest(self, request: web.Request, operation: str, body: bytes = b"", **fields: str) -> web.Response:
        version = request.match_info.get("version")
        head = {"operation": operation, "version": None if version is None else int(version), **fields}
        reply = await self._models.rest(request.match_info["identifier"], head, body)
        return web.Response(body=reply, content_type="application/json")


@web.middleware
async def _refusals_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every refusal one form, also those of the routing: `{"error": …}`."""
    try:
        return await handler(request)
    except RefusalError as refusal:
        return _json({"error": refusal.message}, refusal.status)
    except web.HTTPRequestEntityTooLarge:
        return _json({"error": f"the body is larger than {routes.MAX_BODY_BYTES} bytes"}, 413)
    except web.HTTPError as error:
        headers = {name: value for name, value in error.headers.items() if name == "Allow"}
        return _json({"error": f"{error.reason}: {request.method} {request.path}"}, error.status, headers)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return _json({"error": f"an error of the server's own: {type(error).__name__}: {error}"}, 500)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:  # the body is not what the headers say, or incomplete
        reason = str(error).rpartition("\n")[2].strip()
        raise RefusalError(400, f"the body does not arrive as its headers say: {reason}") from error


def _described(model: LoadedModel) -> dict[str, str]:
    return {"modelName": model.identifier, "modelUrl": model.url}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")
