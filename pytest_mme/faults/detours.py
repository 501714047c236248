"""The detours that faults put between callers and a server: several at once, begun and ended in any order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pytest_mme.contract.client import ContractClient
from pytest_mme.runtimes.base import Running

_CHANGING = threading.Lock()


class Detour:
    """One of them, around what others have put there before."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._client: ContractClient | None = None

    def onward(self) -> ContractClient:
        """Where calls go from here now: to the detour below, or to the server, wherever it is."""
        detours = self._running.detours
        below = detours[: detours.index(self._client)] if self._client in detours else ()
        return below[-1] if below else self._running.direct

    @contextlib.contextmanager
    def by(self, client: ContractClient) -> Iterator[None]:
        """For calls that begin in between, which *client* makes."""
        running, self._client = self._running, client
        with _CHANGING:
            running.detours = (*running.detours, client)
        try:
            yield
        finally:
            with _CHANGING:
                running.detours = tuple(one for one in running.detours if one is not client)
