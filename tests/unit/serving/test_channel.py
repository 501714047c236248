from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pytest_mme.serving.processes.channel import Channel, ChannelServer, Head, WorkerGoneError

_SIZES = [0, 1, 100, (1 << 16) - 30, 1 << 16, (1 << 16) + 1, 1_000_000, 5_000_000]


@contextmanager
def _worker(end: socket.socket, take: Callable[[ChannelServer, int, Head, bytes], object]) -> Iterator[None]:
    worker = ChannelServer(end)
    thread = threading.Thread(target=worker.serve, args=[lambda *request: take(worker, *request)])
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        end.close()
        assert not thread.is_alive()


@pytest.mark.parametrize("size", _SIZES)
def test_bodies_of_any_size_go_both_ways(size: int) -> None:
    async def ask() -> tuple[Head, bytes]:
        front = await Channel.over(ours)
        try:
            return await front.request({"operation": size}, body)
        finally:
            front.close()

    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    ours, theirs = socket.socketpair()
    with _worker(theirs, lambda worker, *request: worker.reply(*request)):
        assert asyncio.run(ask()) == ({"operation": size}, body)


def test_replies_in_any_order_and_size_reach_their_requests() -> None:
    async def ask() -> list[tuple[Head, bytes]]:
        front = await Channel.over(ours)
        try:
            return await asyncio.gather(*(front.request({"operation": size}, bytes(size)) for size in asked))
        finally:
            front.close()

    def answer_backwards(worker: ChannelServer, *request: object) -> None:
        taken.append(request)
        if len(taken) == len(asked):
            for earlier in reversed(taken):
                worker.reply(*earlier)  # type: ignore[arg-type]

    asked, taken = _SIZES * 5, list[tuple[object, ...]]()
    ours, theirs = socket.socketpair()
    with _worker(theirs, answer_backwards):
        assert asyncio.run(ask()) == [({"operation": size}, bytes(size)) for size in asked]


def test_a_reply_that_comes_byte_by_byte_is_one_reply() -> None:
    async def ask() -> list[tuple[Head, bytes]]:
        front = await Channel.over(ours)
        asked = [asyncio.create_task(front.request({})) for _ in range(2)]
        await asyncio.sleep(0)
        for at in range(len(frames)):
            theirs.send(frames[at : at + 1])
            await asyncio.sleep(0)
        try:
            return await asyncio.gather(*asked)
        finally:
            front.close()

    frames = b"".join(_frame_of(number, {"n": number}, bytes(100)) for number in range(2))
    ours, theirs = socket.socketpair()
    with theirs:
        assert asyncio.run(ask()) == [({"n": number}, bytes(100)) for number in range(2)]


def _frame_of(number: int, head: Head, body: bytes) -> bytes:
    one, other = socket.socketpair()
    with one, other:
        ChannelServer(one).reply(number, head, body)
        return other.recv(1 << 16)


def test_the_end_of_a_worker_fails_waiting_and_later_requests() -> None:
    async def ask() -> None:
        front = await Channel.over(ours)
        waiting = asyncio.create_task(front.request({}))
        await asyncio.sleep(0)
        theirs.send(b"half a prefix")
        theirs.close()
        with pytest.raises(WorkerGoneError):
            await waiting
        with pytest.raises(WorkerGoneError):
            await front.request({})
        front.close()

    ours, theirs = socket.socketpair()
    asyncio.run(ask())


def test_the_reply_to_a_cancelled_request_is_dropped() -> None:
    async def ask() -> tuple[Head, bytes]:
        front = await Channel.over(ours)
        given_up = asyncio.create_task(front.request({}))
        await asyncio.sleep(0)
        given_up.cancel()
        asked = asyncio.create_task(front.request({}))
        await asyncio.sleep(0)
        for number in range(2):
            theirs.send(_frame_of(number, {"n": number}, b""))
        try:
            return await asked
        finally:
            front.close()

    ours, theirs = socket.socketpair()
    with theirs:
        assert asyncio.run(ask()) == ({"n": 1}, b"")


def test_a_request_that_could_not_be_written_leaves_no_unretrieved_error() -> None:
    """The worker's death fails both the writing and the waiting; asyncio logs an exception that is never retrieved."""

    async def logged() -> list[str]:
        messages: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context["message"]))
        ours, theirs = socket.socketpair()
        front = await Channel.over(ours)
        asked = asyncio.create_task(front.request({}, bytes(1 << 24)))  # more than the socket takes: it waits to write
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises(WorkerGoneError):
            await asked
        front.close()
        del asked, front
        await asyncio.sleep(0)
        gc.collect()
        return messages

    assert asyncio.run(logged()) == []


@pytest.mark.parametrize("nonsense", [b"junk" * 99, bytes(8) + b"\0\0\0\2" + bytes(4) + b"{]", b"\xff" * 16])
def test_invalid_frames_from_the_worker_end_the_channel(nonsense: bytes) -> None:
    async def ask() -> None:
        front = await Channel.over(ours)
        asked = asyncio.create_task(front.request({}))
        await asyncio.sleep(0)
        theirs.sendall(nonsense)
        with pytest.raises(WorkerGoneError):
            await asked

    ours, theirs = socket.socketpair()
    with theirs:
        asyncio.run(ask())
