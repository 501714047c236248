"""What the client makes of servers that do not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.errors import ContractError, NoAnswerError


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_says_nothing_is_a_time_out(silent: socket.socket) -> None:
    with pytest.raises(NoAnswerError, match=r"POST http://127.0.0.1:\d+/models/m/invoke got no reply after") as late:
        ContractClient(url(silent)).invoke("m", b"{}", timeout_s=0.1)
    assert late.value.timed_out


def test_a_server_that_is_gone_is_not(silent: socket.socket) -> None:
    gone = ContractClient(url(silent))
    silent.close()
    with pytest.raises(NoAnswerError, match="Connection refused") as refused:
        gone.ping()
    assert not refused.value.timed_out


def test_a_connection_that_is_cut_is_not(silent: socket.socket) -> None:
    client = ContractClient(url(silent))
    silent.settimeout(10)

    def cut() -> None:
        connection, _ = silent.accept()
        connection.close()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(NoAnswerError) as broken:
        client.ping()
    thread.join()
    assert not broken.value.timed_out


def test_an_answer_other_than_2xx_is_raised_on_demand() -> None:
    assert Reply(200, b"", {}, 0.0).expect("load").ok
    with pytest.raises(ContractError, match=r"load answered 507\n  body: full\n  next: no memory left"):
        Reply(507, b"full", {}, 0.0).expect("load")
