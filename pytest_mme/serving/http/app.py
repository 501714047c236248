"""The HTTP front: the container contract over the table of residents.

aiohttp: of the kept libraries measured (bench/http_fronts.py) uvicorn with starlette is nearer to the raw protocol by
0.04 ms of a request's 0.9; aiohttp is one dependency instead of four, and the hosting side's front door runs on it, too,
in a thread of pytest's process.
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
from pytest_mme.serving.table.loaded_model import RefusalError, Resident
from pytest_mme.serving.table.model_table import Residents
from pytest_mme.serving.table.named_models import NamedModels

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""A model's id. The platform's ids are 32 hexadecimal digits."""
PAGE_TOKEN = re.compile(r"[0-9]{1,18}")
VERSION = r"[0-9]{1,19}"  # TensorFlow Serving keeps versions as int64
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""What no header can hold."""
_PAGE = 100
_REST = (
    routes.rest("{identifier:[^/:]+}"),
    routes.rest("{identifier:[^/:]+}", f"{{version:{VERSION}}}"),
)

log = logging.getLogger("pytest_mme")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """Answers the contract's calls."""

    def __init__(self, residents: Residents | NamedModels) -> None:
        self._residents = residents

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=routes.MAX_BODY_BYTES, middlewares=[_refusals_as_json])
        one = routes.model("{identifier}")
        app.add_routes(
            [
                web.get(routes.PING, self.ping),
                web.post(routes.MODELS, self.load),
                web.get(routes.MODELS, self.list),
                web.get(one, self.get),
                web.delete(one, self.unload),
                web.post(routes.invoke("{identifier}"), self.invoke),
                *(web.post(rest + ":{method}", self.predict) for rest in _REST),
                *(web.get(rest, self.status) for rest in _REST),
                *(web.get(rest + "/metadata", self.metadata) for rest in _REST),
                web.get(routes.MEMORY, self.memory),
                web.post(routes.MARK, self.mark),
                web.get(routes.OPENAPI, self.openapi),
            ]
        )
        return app

    async def ping(self, _request: web.Request) -> web.Response:
        """200 as long as the front and the zygote live."""
        return web.Response()

    async def load(self, request: web.Request) -> web.Response:
        """Load the model that the body names."""
        identifier, url = _load_order(await _body(request))
        resident = await self._residents.load(identifier, url)
        return _json(_described(resident))

    async def list(self, request: web.Request) -> web.Response:
        """The loaded models, a page at a time; the token is the number of models on the pages before."""
        token = request.query.get("next_page_token", "0")
        if not PAGE_TOKEN.fullmatch(token):
            raise RefusalError(400, f"next_page_token {token[:100]!r} was never given out")
        ready, start = self._residents.ready(), int(token)
        page: dict[str, Any] = {"models": [_described(resident) for resident in ready[start : start + _PAGE]]}
        if len(ready) > start + _PAGE:
            page["nextPageToken"] = str(start + _PAGE)
        return _json(page)

    async def get(self, request: web.Request) -> web.Response:
        """One loaded model."""
        return _json(_described(self._residents.get(request.match_info["identifier"])))

    async def unload(self, request: web.Request) -> web.Response:
        """Unload a model; its memory is free when this answers."""
        await self._residents.unload(request.match_info["identifier"])
        return _json({})

    async def memory(self, _request: web.Request) -> web.Response:
        """`used_bytes` and `limit_bytes` of the workers."""
        return _json(await self._residents.memory())

    async def mark(self, request: web.Request) -> web.Response:
        """A mark among the events."""
        try:
            token = (await _body(request)).decode()
        except UnicodeDecodeError as error:
            raise RefusalError(400, f"the mark is no text: {error}") from error
        self._residents.mark(token)
        return web.Response()

    async def openapi(self, _request: web.Request) -> web.Response:
        """All of these calls, described."""
        return _json(description())

    async def invoke(self, request: web.Request) -> web.Response:
        """A model's answer, or that of the user's code for it."""
        identifier = request.match_info["identifier"]
        rest_url = _rest_url(request, identifier)
        asked = invocation(request.headers, await _body(request), rest_url)
        answer = await self._residents.invoke(identifier, asked)
        if _UNSENDABLE.search(answer.content_type):
            raise RefusalError(500, f"the user's code answered with the content type {answer.content_type!r}")
        return web.Response(body=answer.body, status=answer.status, headers={"Content-Type": answer.content_type})

    async def predict(self, request: web.Request) -> web.Response:
        """TensorFlow Serving's own call, for handlers: what the model itself answers."""
        method = request.match_info["method"]
        if method not in METHODS:
            raise RefusalError(400, f"Malformed request: {request.method} {request.path}")
        return await self._rest(request, "invoke", await _body(request), method=method)

    async def status(self, request: web.Request) -> web.Response:
        """The model's versions, as TensorFlow Serving tells them."""
        return await self._rest(request, "status")

    async def metadata(self, request: web.Request) -> web.Response:
        """The model's signatures, as TensorFlow Serving tells them."""
        return await self._rest(request, "metadata")

    async def _rest(self, request: web.Request, ask: str, body: bytes = b"", **order: str) -> web.Response:
        version = request.match_info.get("version")
        asked = {"ask": ask, "version": None if version is None else int(version), **order}
        answer = await self._residents.rest(request.match_info["identifier"], asked, body)
        return web.Response(body=answer, content_type="application/json")


@web.middleware
async def _refusals_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is refused is refused in one form, also by the routing: `{"error": …}`."""
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
        return _json({"error": f"a mistake of the server's own: {type(error).__name__}: {error}"}, 500)


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:  # not what its headers say, or only half of it
        reason = str(error).rpartition("\n")[2].strip()
        raise RefusalError(400, f"the body does not arrive as its headers say: {reason}") from error


def _rest_url(request: web.Request, identifier: str) -> str:
    """Where the user's code reaches the model itself: where this request came in."""
    if request.transport is None:
        raise RefusalError(400, "the client has hung up")
    host, port = request.transport.get_extra_info("sockname")[:2]
    return f"{routes.origin(host, port)}{routes.rest(identifier)}"


def _load_order(body: bytes) -> tuple[str, str]:
    try:
        order = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusalError(400, f"the body is not JSON: {error}") from error
    match order:
        case {"model_name": str(identifier), "url": str(url)} if IDENTIFIER.fullmatch(identifier):
            return identifier, url
    raise RefusalError(
        400,
        'the body must be {"model_name": ID, "url": FOLDER}, both strings, '
        "the ID of letters, digits, dot, dash and underscore",
    )


def _described(resident: Resident) -> dict[str, str]:
    return {"modelName": resident.identifier, "modelUrl": resident.url}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, headers=headers, content_type="application/json")
