"""The HTTP front: the container contract over the table of residents.

aiohttp: of the kept libraries measured (bench/http_fronts.py) uvicorn with starlette is nearer to the raw protocol by
0.04 ms of a request's 0.9; aiohttp is one dependency instead of four, and the hosting side's front door runs on it, too,
in a thread of pytest's process.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from pytest_mme.contract import routes
from pytest_mme.serving.residents import RefusalError, Resident, Residents

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_PAGE = 100

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """Answers the contract's calls."""

    def __init__(self, residents: Residents) -> None:
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
                web.get(routes.MEMORY, self.memory),
                web.post(routes.MARK, self.mark),
            ]
        )
        return app

    async def ping(self, _request: web.Request) -> web.Response:
        """200 as long as the front and the zygote live."""
        return web.Response()

    async def load(self, request: web.Request) -> web.Response:
        """Load the model that the body names."""
        identifier, url = _load_order(await request.read())
        resident = await self._residents.load(identifier, url)
        return _json(_described(resident))

    async def list(self, request: web.Request) -> web.Response:
        """The loaded models, a page at a time; the token is the number of models on the pages before."""
        token = request.query.get("next_page_token", "0")
        if not token.isdecimal():
            raise RefusalError(400, f"next_page_token {token!r} was never given out")
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
        self._residents.mark(await request.text())
        return web.Response()

    async def invoke(self, request: web.Request) -> web.Response:
        """A model's answer."""
        identifier, request_id = request.match_info["identifier"], request.headers.get(routes.REQUEST_ID)
        body = await self._residents.invoke(identifier, await request.read(), request_id)
        return web.Response(body=body, content_type="application/json")


@web.middleware
async def _refusals_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusalError as refusal:
        return _json({"error": refusal.message}, refusal.status)


def _load_order(body: bytes) -> tuple[str, str]:
    try:
        order = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusalError(400, f"the body is not JSON: {error}") from error
    match order:
        case {"model_name": str(identifier), "url": str(url)} if _IDENTIFIER.fullmatch(identifier):
            return identifier, url
    raise RefusalError(
        400,
        'the body must be {"model_name": ID, "url": FOLDER}, both strings, '
        "the ID of letters, digits, dot, dash and underscore",
    )


def _described(resident: Resident) -> dict[str, str]:
    return {"modelName": resident.identifier, "modelUrl": resident.url}


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
