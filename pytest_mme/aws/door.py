"""The server that boto3 and the `aws` command line talk to instead of `runtime.sagemaker.REGION.amazonaws.com`."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from pytest_mme.aws import wire
from pytest_mme.contract import routes
from pytest_mme.contract.client import Reply

log = logging.getLogger("pytest_mme")

_THREADS = 256  # one for each request under way; started as they are needed
_FORWARDED = ("Content-Type", "Accept", routes.CUSTOM_ATTRIBUTES)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_REAL_ACCESS_KEY = re.compile(r"(AKIA|ASIA)(?!.*EXAMPLE$)[A-Z0-9]{16}")

Answer = Callable[[wire.WireRequest], Reply]
"""Answers a request, or raises `WireError`. Called in a thread of its own."""


class FrontDoor:
    """An HTTP server on a free loopback port, in threads of this process."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pool = ThreadPoolExecutor(_THREADS, "front door")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front door", daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    async def _start(self) -> str:
        app = web.Application(client_max_size=routes.MAX_BODY_BYTES)
        app.router.add_post(wire.PATH, self._invocations)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=routes.INVOKE_TIMEOUT_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _invocations(self, request: web.Request) -> web.Response:
        request_id = str(uuid.uuid4())
        headers = {wire.REQUEST_ID: request_id}
        try:
            _refuse_real_credentials(request.headers.get("Authorization", ""))
            asked = await _wire_request(request, request_id)
            reply = await self._loop.run_in_executor(self._pool, self._answer_or_fail, asked)
        except wire.WireError as error:
            headers |= {wire.ERROR_TYPE: error.code, "Content-Type": "application/json"}
            return web.Response(status=error.status, body=error.body(), headers=headers)
        headers[wire.VARIANT] = wire.VARIANT_NAME
        headers |= {
            name: reply.headers[name] for name in ("Content-Type", routes.CUSTOM_ATTRIBUTES) if name in reply.headers
        }
        return web.Response(status=200, body=reply.body, headers=headers)

    def _answer_or_fail(self, request: wire.WireRequest) -> Reply:
        try:
            return self._answer(request)
        except wire.WireError:
            raise
        except Exception as error:
            log.exception("the request %s of %s failed", request.request_id, request.endpoint)
            raise wire.internal_failure(error) from error

    def close(self) -> None:
        """Stop; requests under way are answered first."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()


async def _wire_request(request: web.Request, request_id: str) -> wire.WireRequest:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        text = f"Request body is larger than {routes.MAX_BODY_BYTES} bytes"  # assumed: AWS documents no text
        raise wire.WireError(413, "ValidationError", text) from error
    return wire.WireRequest(
        endpoint=request.match_info["name"],
        target=request.headers.get(routes.TARGET_MODEL),
        body=body,
        headers={name: request.headers[name] for name in _FORWARDED if name in request.headers},
        request_id=request_id,
        attempt=request.headers.get("amz-sdk-request"),
    )


def _refuse_real_credentials(authorization: str) -> None:
    """Real credentials must not end up in tests: the next client might reach the real service with them."""
    found = _CREDENTIAL.search(authorization)
    if found and _REAL_ACCESS_KEY.fullmatch(found[1]):
        raise wire.WireError(
            403,
            "AccessDeniedException",
            f"pytest-mme refuses the access key {found[1][:4]}…: it looks like a real one. Make the client inside the "
            "test, after the fixture mme_aws or mme_endpoint has set its dummy credentials, and give it no keys.",
        )
