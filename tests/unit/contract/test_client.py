"""The client, before servers that do not reply."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.errors import ContractError, NoAnswerError


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_without_a_reply_in_time_the_error_says_timed_out(silent: socket.socket) -> None:
    with pytest.raises(NoAnswerError, match=r"POST http://127.0.0.1:\d+/models/m/invoke got no reply after") as late:
        ContractClient(url(silent)).invoke("m", b"{}", timeout_s=0.1)
    assert late.value.timed_out


def test_a_refused_connection_has_not_timed_out(silent: socket.socket) -> None:
    gone = ContractClient(url(silent))
    silent.close()
    with pytest.raises(NoAnswerError, match="Connection refused") as refused:
        gone.ping()
    assert not refused.value.timed_out


def test_a_connection_that_is_cut_has_not_timed_out(silent: socket.socket) -> None:
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


def test_expect_raises_for_a_status_other_than_2xx() -> None:
    assert Reply(200, b"", {}, 0.0).expect("load").ok
    with pytest.raises(ContractError, match=r"load replied 507\n  body: full\n  next: no memory left"):
        Reply(507, b"full", {}, 0.0).expect("load")
