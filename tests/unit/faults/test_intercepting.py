"""Interceptors hand calls on to one another, and each changes only what it is there for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_mme.contract.client import ContractClient, Reply
from pytest_mme.faults.intercepting import Around, Call, Diverting, Forwarding, Interception, PingFailing, Surrounding
from tests.unit.faults.victim import Client, Running


class Noting(Forwarding):
    """Notes that a call went through it."""

    def __init__(self, name: str, running: Any) -> None:
        self.interception = Interception(running)
        super().__init__(self.interception.next_client)
        self._name, self._done = name, running.done

    def ask(self, *arguments: Any, **options: Any) -> Reply:
        self._done.append(self._name)
        return super().ask(*arguments, **options)


@pytest.fixture
def running() -> Any:
    return Running([])


def asked(running: Any) -> list[str]:
    """The way of a call."""
    running.done.clear()
    running.client.ping()
    return list(running.done)


def test_the_last_interceptor_is_asked_first_and_they_end_in_any_order(running: Any) -> None:
    first, second, third = (Noting(name, running) for name in ("first", "second", "third"))
    with contextlib.ExitStack() as outer, contextlib.ExitStack() as inner:
        outer.enter_context(first.interception.by(first))
        inner.enter_context(second.interception.by(second))
        outer.enter_context(third.interception.by(third))
        assert asked(running) == ["third", "second", "first", "GET /ping"]
        assert second.interception.next_client() is first
        inner.close()
        assert asked(running) == ["third", "first", "GET /ping"]
    assert asked(running) == ["GET /ping"]
    assert running.interceptors == ()


def test_an_interceptor_that_forwards_has_the_servers_address_and_no_connections(running: Any) -> None:
    forwarding = Noting("", running)
    assert forwarding.url == "http://nowhere:8080"
    running.direct = Client(running.done, "http://elsewhere")  # it was started again
    assert forwarding.url == "http://elsewhere"
    forwarding.close()
    assert running.done == []


@pytest.fixture
def around(running: Any) -> Callable[[str], Around | None]:
    """Notes when a call of id-a begins, was sent, and ends."""

    @contextlib.contextmanager
    def noted() -> Iterator[Callable[[], object]]:
        running.done.append("begins")
        yield lambda: running.done.append("sent")
        running.done.append("ends")

    return lambda identifier: noted() if identifier == "id-a" else None


INVOKE, LOAD = "POST /models/id-{}/invoke x", 'POST /models {{"model_name": "id-{}", "url": "/m"}}'


@pytest.mark.parametrize(
    ("call", "done"),
    [
        ("invoke", ["begins", "sent", INVOKE, "ends", LOAD]),
        ("load", [INVOKE, "begins", LOAD, "ends"]),
    ],
)
def test_calls_of_one_kind_and_of_chosen_models_are_surrounded(
    running: Any, around: Callable[[str], Around | None], call: Call, done: list[str]
) -> None:
    client = Surrounding(lambda: running.direct, call, around)
    client.invoke("id-a", b"x")
    client.load("id-a", "/m")
    assert running.done == [one.format("a") for one in done]
    running.done.clear()
    client.invoke("id-b", b"x")
    client.load("id-b", "/m")
    assert running.done == [INVOKE.format("b"), LOAD.format("b")]


@pytest.mark.parametrize("headers", [None, {"Content-Type": "text/csv"}])
def test_a_surrounded_request_is_sent_whole(
    running: Any, around: Callable[[str], Around | None], headers: dict[str, str] | None
) -> None:
    reply = Surrounding(lambda: running.direct, "invoke", around).invoke("id-a", b"four", headers)
    json = {"Content-Type": "application/json", "Accept": "application/json"}
    assert (reply.body, reply.headers) == (b"four", {**(headers or json), "Content-Length": "4"})


def test_requests_to_chosen_models_are_diverted(running: Any) -> None:
    other: list[str] = []
    client: ContractClient = Diverting(lambda: running.direct, Client(other), lambda identifier: identifier == "id-a")
    for model in "ab":
        client.invoke(f"id-{model}", b"x")
        client.load(f"id-{model}", "/m")
    assert other == [INVOKE.format("a")]
    assert running.done == [LOAD.format("a"), INVOKE.format("b"), LOAD.format("b")]


def test_pings_fail_and_nothing_else(running: Any) -> None:
    client = PingFailing(lambda: running.direct, 503)
    assert (client.ping(), client.list().status) == (Reply(503, b"", {}, 0.0), 200)
    assert running.done == ["GET /models"]
