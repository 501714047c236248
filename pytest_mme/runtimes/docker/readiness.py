"""When a container is ready: `/ping` and `GET /models` reply with 200, as the platform uses both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pytest_mme.contract import routes
from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.errors import NoAnswerError, NotReadyError
from pytest_mme.waiting import wait_for

PINGED = "waiting for GET /ping to reply 200"
LISTED = "waiting for GET /models to reply 200, as /ping does"


def ready_client(
    addresses: Callable[[], list[str]], *, within_s: float, gone: Callable[[], str | None]
) -> ContractClient:
    """A client of the first address at which the server is ready; raises `NotReadyError` with what was seen last."""
    client = wait_for(lambda: _replying(addresses()), what=PINGED, timeout_s=within_s, gone=gone)
    try:
        wait_for(
            lambda: _good(partial(client.list, timeout_s=routes.LOOK_TIMEOUT_S)),
            what=LISTED,
            timeout_s=routes.LOOK_TIMEOUT_S,
            gone=gone,
        )
    except NotReadyError:
        client.close()
        raise
    return client


def _replying(urls: list[str]) -> ContractClient:
    """A client of the first address that replies; raises OSError with what was seen of the last one."""
    seen = OSError("it has no address yet")
    for url in urls:
        client = ContractClient(url)
        try:
            _good(client.ping)
        except OSError as error:
            seen = error
            client.close()
        else:
            return client
    raise seen


def _good(call: Callable[[], Reply]) -> Reply:
    try:
        reply = call()
    except NoAnswerError as error:
        raise OSError(f"no reply: {error.cause}") from error
    if reply.status != 200:
        raise OSError(f"it replied {reply.status}: {reply.text[:200]}")
    return reply
