"""A relay in front of a server that sends everything back: later, never, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_mme.faults import tcp_relay
from pytest_mme.faults.tcp_relay import Relay

Relaying = Callable[..., contextlib.AbstractContextManager[socket.socket]]
TIMEOUT_S = 10.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while block := self.request.recv(65536):
                self.server.arrived += block  # type: ignore[attr-defined]
                self.request.sendall(block)


class Echo(socketserver.ThreadingTCPServer):
    """Sends back what arrives."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.arrived = b""

    async def connect(self) -> tcp_relay.Connection:
        return await asyncio.open_connection("127.0.0.1", self.server_address[1])


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def through(echo: Echo) -> Relaying:
    """Opens a connection to the server through a relay, which ends with the block."""

    @contextlib.contextmanager
    def connected(**network: Any) -> Iterator[socket.socket]:
        relay = Relay(echo.connect, **network)
        with relay.running() as port, socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            yield connection

    return connected


def whole(connection: socket.socket) -> bytes:
    """Everything until the end of the stream."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_everything_passes_at_once_and_in_order_until_the_end(
    through: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, sleep, delays = bytes(range(256)) * 2000, asyncio.sleep, list[float]()

    async def note(delay_s: float) -> None:
        delays.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    with through() as connection:

        def send() -> None:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        assert whole(connection) == sent
        sending.join()
    assert max(delays) <= 0


def test_each_piece_arrives_later_both_ways(through: Relaying) -> None:
    with through(latency_s=0.05) as connection:
        for _ in range(2):
            began_s = time.monotonic()
            connection.sendall(b"x")
            assert connection.recv(10) == b"x"
            assert time.monotonic() - began_s >= 0.1


def test_connections_are_refused(through: Relaying, echo: Echo) -> None:
    with through(refusing=True) as connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(10) == b""
    assert echo.arrived == b""


def test_nothing_arrives(through: Relaying, echo: Echo) -> None:
    with through(silent=True) as connection:
        connection.sendall(b"x")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(10)
    assert echo.arrived == b""


def test_the_end_cuts_a_connection(through: Relaying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_LINGER_S", 1000.0)
    with contextlib.ExitStack() as undo:
        relaying = through(cutting=True)
        connection = relaying.__enter__().dup()
        undo.enter_context(connection)
        connection.sendall(b"x")
        assert connection.recv(10) == b"x"
        relaying.__exit__(None, None, None)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""


def test_a_connection_may_end_by_itself_after_the_end(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_LINGER_S", 1000.0)
    relay = Relay(echo.connect, latency_s=0.1)
    with contextlib.ExitStack() as undo:
        with relay.running() as port:
            connection = undo.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S))
            connection.sendall(b"x")
            while not echo.arrived:
                assert connection.fileno() >= 0
            connection.shutdown(socket.SHUT_WR)
        assert whole(connection) == b"x"


def test_a_connection_that_does_not_end_is_cut_in_the_end(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_relay, "_LINGER_S", 0.05)
    relay = Relay(echo.connect)
    with contextlib.ExitStack() as undo:
        with relay.running() as port:
            connection = undo.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S))
            connection.sendall(b"x")
            assert connection.recv(10) == b"x"
        assert whole(connection) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def test_a_server_that_is_not_there_ends_the_connection() -> None:
    async def refuse() -> Any:
        raise ConnectionRefusedError

    with (
        Relay(refuse).running() as port,
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection,
    ):
        assert whole(connection) == b""


def test_a_relay_that_cannot_listen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> Any:
        raise OSError("no port is left")

    monkeypatch.setattr(asyncio, "start_server", fail)
    with pytest.raises(OSError, match="no port is left"), Relay(fail).running():
        pytest.fail("it listens all the same")


def test_relays_listen_beside_each_other(echo: Echo) -> None:
    with Relay(echo.connect).running() as first, Relay(echo.connect).running() as second:
        assert len({first, second, echo.server_address[1]}) == 3
        relays = [thread for thread in threading.enumerate() if thread.name == "relay"]
        assert [thread.daemon for thread in relays] == [True, True]  # none keeps a process that ends
