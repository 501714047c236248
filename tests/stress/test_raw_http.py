"""What no well-behaved client sends: malformed, oversized, slow and abandoned requests."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_mme import Model, Models, Run, Server, Settings
from pytest_mme.contract import routes
from pytest_mme.serving.http.openapi import description
from tests.local.gate import Gate
from tests.stress.front import ECHO, Front
from tests.stress.wire import answer, ask, chunked, connected, everything, request

BODY = b'{"instances": [[1.0]]}'
CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"
EXPECT, CONTINUE = b"Expect: 100-continue", b"HTTP/1.1 100"
OVER = b" " * (routes.MAX_BODY_BYTES + 1)
PATHS = description()["paths"]

Servers = Callable[..., Server]


@pytest.fixture(scope="module")
def one_front(mme_settings: Settings, mme_models: Models) -> Iterator[Front]:
    with Run(mme_settings) as run, run.server() as server:
        yield Front(server, mme_models.linear(), mme_models.linear("echo", handler=ECHO))


@pytest.fixture
def front(one_front: Front) -> Iterator[Front]:
    """A server that must be as before after each test."""
    yield one_front
    one_front.check()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([b"Content-Length: -1"], b""),
        ([b"Content-Length: many"], b""),
        ([b"Content-Length: 1", b"Content-Length: 2"], b"12"),
        ([b"Content-Length: " + b"9" * 30], b""),
        ([b"Content-Length: 5", CHUNKED], b"0\r\n\r\n"),
        ([b"Transfer-Encoding: nonsense"], b""),
        ([CHUNKED], b"zz\r\n{}\r\n0\r\n\r\n"),
        ([CHUNKED], b"2\r\n{} and more\r\n0\r\n\r\n"),
        ([b"no header"], b""),
        ([b"X : 1"], b""),
        ([b"X: " + b"x" * 20_000], b""),
        ([b"X%d: x" % number for number in range(5_000)], b""),
        ([b"X: a\0b"], b""),
        ([b"Content-Encoding: gzip", b"Content-Length: 7"], b"garbage"),
        ([b"Content-Encoding: deflate", b"Content-Length: 7"], b"garbage"),
    ],
    ids=repr,
)
def test_a_request_that_is_not_valid_http_is_400(front: Front, headers: list[bytes], body: bytes) -> None:
    message = request("POST", routes.invoke(front.plain), *headers, body=None) + body
    assert ask(front.url, message).status == 400


def test_a_body_that_is_not_packed_as_it_says_is_400_in_words(front: Front) -> None:
    refused = ask(front.url, request("POST", routes.MODELS, b"Content-Encoding: gzip", body=b"garbage"))
    assert (refused.status, refused.refusal.rpartition(": ")[2]) == (400, "gzip")


@pytest.mark.parametrize(
    "line", [b"GARBAGE", b"\0\1\2\3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET /\xff HTTP/1.1"]
)
def test_an_invalid_request_line_is_400(front: Front, line: bytes) -> None:
    assert ask(front.url, line + b"\r\n\r\n").status == 400


def test_an_address_without_end_is_400(front: Front) -> None:
    assert ask(front.url, request("GET", "/" + "x" * 20_000), "GET").status == 400


@pytest.mark.parametrize("path", [routes.MODELS, "/models/{}/invoke", "/v1/models/{}:predict", routes.MARK])
def test_a_body_over_the_limit_is_413(front: Front, path: str) -> None:
    refused = ask(front.url, request("POST", path.format(front.plain), body=OVER))
    assert refused.status == 413
    assert refused.refusal


def test_chunks_over_the_limit_are_413(front: Front) -> None:
    chunks = chunked(*[b" " * 100_000] * 70)
    assert ask(front.url, request("POST", routes.invoke(front.plain), CHUNKED, body=None) + chunks).status == 413


def test_a_packed_body_counts_as_what_it_holds(front: Front) -> None:
    bomb = request("POST", routes.invoke(front.plain), b"Content-Encoding: gzip", body=gzip.compress(OVER * 10))
    assert ask(front.url, bomb).status == 413
    packed = request("POST", routes.invoke(front.plain), b"Content-Encoding: gzip", body=gzip.compress(BODY))
    assert ask(front.url, packed).status == 200


def test_a_body_at_the_limit_is_taken(front: Front) -> None:
    body = BODY + b" " * (routes.MAX_BODY_BYTES - len(BODY))
    assert ask(front.url, request("POST", routes.invoke(front.plain), body=body)).status == 200


@pytest.mark.parametrize(
    "name", ["Content-Type", "Accept", routes.CUSTOM_ATTRIBUTES, routes.TARGET_MODEL, routes.REQUEST_ID]
)
@pytest.mark.parametrize("user_code", [True, False])
def test_a_header_that_is_not_utf_8_is_400(front: Front, name: str, user_code: bool) -> None:
    path = routes.invoke(front.echo if user_code else front.plain)
    refused = ask(front.url, request("POST", path, name.encode() + b": \xff\xfe", body=BODY))
    assert (refused.status, refused.refusal) == (400, rf"the header {name} is not UTF-8: b'\xff\xfe'")


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n", b"\r\n "])
def test_no_header_is_smuggled_into_an_answer(front: Front, end: bytes) -> None:
    """The echo answers with the content type that the request accepts."""
    message = request("POST", routes.invoke(front.echo), b"Accept: text/plain" + end + b"X-Smuggled: 1", body=b"")
    assert "X-Smuggled" not in ask(front.url, message).headers


@pytest.mark.parametrize(
    "content_type",
    [
        r"text/plain\r\nX-Smuggled: 1",
        r"\0",
        r"text/\udcff",
    ],
)
def test_a_content_type_that_no_header_can_hold_is_the_codes_500(
    mme_server: Servers, mme_models: Models, content_type: str
) -> None:
    server = mme_server()
    model = mme_models.linear(handler=f"def handler(data, context):\n    return 'x', '{content_type}'")
    answered = server.client.invoke(server.load(model), b"")
    assert answered.status == 500
    assert "X-Smuggled" not in answered.headers
    assert "content type" in answered.json()["error"]


@pytest.mark.parametrize("token", ["x", "-1", "1.0", "9" * 5000, "%D9%A3", "0x1", "%00"])
def test_a_token_that_was_never_given_out_is_400(front: Front, token: str) -> None:
    refused = ask(front.url, request("GET", f"{routes.MODELS}?next_page_token={token}"), "GET")
    assert refused.status == 400
    assert "is not the token of a page" in refused.refusal


@pytest.mark.parametrize("url", [r"/\u0000", "/" + "x" * 300, "/x" * 5000, "/dev/null/x"])
def test_a_url_that_cannot_be_a_folder_is_404(front: Front, url: str) -> None:
    refused = ask(front.url, request("POST", routes.MODELS, body=b'{"model_name": "m", "url": "%s"}' % url.encode()))
    assert refused.status == 404
    assert "cannot be" in refused.refusal


def test_a_mark_that_is_not_utf_8_is_400(front: Front) -> None:
    refused = ask(front.url, request("POST", routes.MARK, body=b"\xff"))
    assert (refused.status, refused.refusal[:21]) == (400, "the mark is not UTF-8")
    assert (
        ask(front.url, request("POST", routes.MARK, b"Content-Type: text/plain; charset=no", body=b"m")).status == 200
    )


@pytest.mark.parametrize("path", sorted(PATHS))
def test_any_other_method_is_405(front: Front, path: str) -> None:
    allowed = {method.upper() for method in PATHS[path] if method != "parameters"}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    address = path.format(identifier=front.plain, version=1, method="predict")
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        refused = ask(front.url, request(method, address), method)
        assert (refused.status, refused.refusal) == (405, f"Method Not Allowed: {method} {address}")
        assert set(refused.headers["Allow"].split(",")) == allowed


@pytest.mark.parametrize("path", [path for path in sorted(PATHS) if "get" in PATHS[path]])
def test_head_answers_as_get_does_without_the_body(front: Front, path: str) -> None:
    address = path.format(identifier=front.plain, version=1)
    head, get = (ask(front.url, request(method, address), method) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (get.status, b"")


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/nothing", "/models/", "/models//invoke", "/ping/", "/v1/models", "/v1/models/m/versions/x"],
)
def test_any_other_path_is_404(front: Front, path: str) -> None:
    refused = ask(front.url, request("GET", path), "GET")
    assert refused.status == 404
    assert refused.refusal.startswith("Not Found: GET ")


def test_an_http_1_0_client_gets_a_reply(front: Front) -> None:
    with connected(front.url) as connection:
        connection.sendall(request("POST", routes.invoke(front.plain), body=BODY, version="1.0"))
        assert everything(connection).startswith(b"HTTP/1.0 200 OK")


def test_pipelined_requests_get_their_replies_in_order(front: Front) -> None:
    messages = [request("POST", routes.invoke(front.echo), body=b"<%d>" % number) for number in range(9)]
    with connected(front.url) as connection:
        connection.sendall(b"".join(messages) + request("POST", routes.invoke(front.echo), CLOSE, body=b"<9>"))
        came = everything(connection)
    assert came.count(b"HTTP/1.1 200 OK") == 10
    places = [came.index(b"<%d>" % number) for number in range(10)]
    assert places == sorted(places)


@pytest.fixture
def loaded(front: Front) -> Iterator[str]:
    """A model of this test's own."""
    assert front.server.client.load("loaded", front.folder).ok
    yield "loaded"
    front.clean()


def unloads_at_once(server: Server, identifier: str) -> bool:
    """Nothing is in flight: the drain has nothing to wait for."""
    assert server.client.unload(identifier).ok
    ended = [event for event in server.timeline if event.kind == "unload" and event.source == "server"][-1]
    return ended.outcome == "ok" and ended.seconds is not None and ended.seconds < 10


@pytest.mark.parametrize("path", ["/models/{}/invoke", "/v1/models/{}:predict"])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind(
    front: Front, loaded: str, path: str, reset: bool
) -> None:
    whole = request("POST", path.format(loaded), body=BODY)
    with front.no_error_logged():
        for cut in (len(whole) - 1, len(whole) - len(BODY), 30):
            with connected(front.url) as connection:
                connection.sendall(whole[:cut])
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert unloads_at_once(front.server, loaded)


def test_a_client_that_breaks_off_in_the_middle_of_a_chunk_leaves_nothing_behind(front: Front, loaded: str) -> None:
    """aiohttp waits for more of the body then, until the client hangs up."""
    with connected(front.url) as connection:
        connection.sendall(request("POST", routes.invoke(loaded), CHUNKED, EXPECT, body=None))
        assert connection.recv(1000).startswith(CONTINUE)  # so the server has read the headers and waits for the body
        connection.sendall(b"zz\r\n")
    assert unloads_at_once(front.server, loaded)


def test_a_client_that_dawdles_is_not_waited_for(front: Front, loaded: str) -> None:
    with connected(front.url) as connection:
        connection.sendall(request("POST", routes.invoke(loaded), b"Content-Length: 9", EXPECT, body=None))
        assert connection.recv(1000).startswith(CONTINUE)
        connection.sendall(b"{")
        assert unloads_at_once(front.server, loaded)
        connection.sendall(b" " * 8)
        assert answer(connection).status == 404


def test_a_client_that_leaves_before_the_answer_keeps_no_model_busy(
    mme_server: Servers, gated: Model, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    server = mme_server()
    server.load(gated)
    with connected(server.client.url) as connection:
        body = b'{"instances": ["%s"]}' % str(gate.path).encode()
        connection.sendall(request("POST", routes.invoke(server.identifier(gated)), body=body))
        with gate.held():
            connection.close()
            unloaded = pool.submit(unloads_at_once, server, server.identifier(gated))
    assert unloaded.result()


def test_a_server_ends_while_clients_dawdle(mme_settings: Settings) -> None:
    with contextlib.ExitStack() as clients:
        with Run(mme_settings) as run, run.server() as server:
            connection = clients.enter_context(connected(server.client.url))
            connection.sendall(request("POST", routes.MODELS, b"Content-Length: 9", EXPECT, body=None))
            assert connection.recv(1000).startswith(CONTINUE)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 10
