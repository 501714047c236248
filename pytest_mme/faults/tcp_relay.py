"""A TCP relay between the hosting side and a server, which slows the network down, or cuts it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]

_CHUNK = 65536
_PIECES = 1024  # that are delayed at once
_LINGER_S = 5.0


class Relay:
    """Relays connections from a port of its own on loopback; in a thread of its own.

    *connect*: opens the connection to the server. *latency_s*: the delay of every piece, in both directions, in
    seconds. *refusing*: reset every connection. *silent*: drop what is sent, without an error. *cutting*: cut the
    remaining connections at the end; otherwise they have five seconds to end by themselves.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        latency_s: float = 0.0,
        refusing: bool = False,
        silent: bool = False,
        cutting: bool = False,
    ) -> None:
        self._connect = connect
        self._latency_s, self._refusing, self._silent, self._cutting = latency_s, refusing, silent, cutting

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Listen until the end of the block; gives the port."""
        listening: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        work = threading.Thread(target=lambda: asyncio.run(self._serve(listening)), name="relay", daemon=True)
        work.start()
        port, loop, stop = listening.result()
        try:
            yield port
        finally:
            loop.call_soon_threadsafe(stop.set)
            work.join()

    async def _serve(self, listening: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        stop, connections = asyncio.Event(), set[asyncio.Task[None]]()
        try:
            server = await asyncio.start_server(
                lambda *ends: connections.add(asyncio.create_task(self._relay(*ends))), "127.0.0.1", 0
            )
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()
        if connections and not self._cutting:
            await asyncio.wait(connections, timeout=_LINGER_S)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            if self._refusing:
                writer.transport.abort()
                return
            towards_reader, towards_writer = await self._connect()
            with contextlib.closing(towards_writer):
                await asyncio.gather(self._pass(reader, towards_writer), self._pass(towards_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what is read, each piece when it is due, until the end of the stream."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES)
        async with contextlib.AsyncExitStack() as undo:
            writing = asyncio.create_task(self._write(pieces, writer))
            undo.callback(writing.cancel)
            loop, block = asyncio.get_running_loop(), b"first"
            while block and not writing.done():
                block = await reader.read(_CHUNK)
                await pieces.put((loop.time() + self._latency_s, block))
            await writing

    async def _write(self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, block = await pieces.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not block:
                break
            if not self._silent:
                writer.write(block)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
