"""The HTTP server that boto3 and the `aws` command line talk to instead of `runtime.sagemaker.REGION.amazonaws.com`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from pytest_mme.aws import wire
from pytest_mme.aws.environment import refuse_real_credentials
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply

log = logging.getLogger("pytest_mme")

_THREADS = 256  # one for each request under way; started as they are needed
_FORWARDED = ("Content-Type", "Accept", routes.CUSTOM_ATTRIBUTES)
_RETURNED = ("Content-Type", routes.CUSTOM_ATTRIBUTES)

Respond = Callable[[wire.WireRequest], Reply]
"""Gives an endpoint's reply to a request, or raises `WireError`. Called in a thread of its own."""


class Door:
    """Takes requests on a free loopback port, in threads of this process, and hands them to their endpoints."""

    def __init__(self) -> None:
        self._endpoints: dict[str, Respond] = {}
        self._pool = ThreadPoolExecutor(_THREADS, "door")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    @contextlib.contextmanager
    def opened(self, name: str, respond: Respond) -> Iterator[None]:
        """Hand requests for the endpoint *name* to *respond*; ValueError when there is an endpoint of that name."""
        if name in self._endpoints:
            raise ValueError(f"there is an endpoint {name!r} already: give each its own name")
        self._endpoints[name] = respond
        try:
            yield
        finally:
            del self._endpoints[name]

    async def _start(self) -> str:
        app = web.Application(client_max_size=routes.MAX_BODY_BYTES)
        app.router.add_post(wire.PATH, self._invocations)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=routes.INVOKE_TIMEOUT_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _invocations(self, http: web.Request) -> web.Response:
        request_id = str(uuid.uuid4())
        headers = {wire.REQUEST_ID: request_id}
        try:
            refuse_real_credentials(http.headers.get("Authorization", ""))
            request = await _wire_request(http, request_id)
            reply = await self._loop.run_in_executor(self._pool, self._reply, request)
        except wire.WireError as error:
            headers |= {wire.ERROR_TYPE: error.code, "Content-Type": "application/json"}
            return web.Response(status=error.status, body=error.body(), headers=headers)
        headers[wire.VARIANT] = wire.VARIANT_NAME
        headers |= {name: reply.headers[name] for name in _RETURNED if name in reply.headers}
        return web.Response(status=200, body=reply.body, headers=headers)

    def _reply(self, request: wire.WireRequest) -> Reply:
        respond = self._endpoints.get(request.endpoint)
        if respond is None:
            raise wire.no_such_endpoint(request.endpoint)
        try:
            return respond(request)
        except wire.WireError:
            raise
        except Exception as error:
            log.exception("the request %s of %s failed", request.request_id, request.endpoint)
            raise wire.internal_failure(error) from error

    def close(self) -> None:
        """Stop; requests under way are finished first."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()


async def _wire_request(http: web.Request, request_id: str) -> wire.WireRequest:
    try:
        body = await http.read()
    except web.HTTPRequestEntityTooLarge as error:
        text = f"Request body is larger than {routes.MAX_BODY_BYTES} bytes"  # assumed: AWS documents no text
        raise wire.WireError(413, "ValidationError", text) from error
    return wire.WireRequest(
        endpoint=http.match_info["name"],
        target=http.headers.get(routes.TARGET_MODEL),
        body=body,
        headers={name: http.headers[name] for name in _FORWARDED if name in http.headers},
        request_id=request_id,
        attempt=http.headers.get("amz-sdk-request"),
        invocation=http.headers.get("amz-sdk-invocation-id"),
    )
