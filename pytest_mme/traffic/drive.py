"""Sends the requests of one load, from threads that begin together."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_mme.errors import ContractError, NoAnswerError
from pytest_mme.models.builder import Model
from pytest_mme.traffic.load import Load, Sent

log = logging.getLogger("pytest_mme")
_LOG_EVERY_S = 5.0


@dataclasses.dataclass(frozen=True)
class Ticket:
    """A request to be sent."""

    model: Model
    due_s: float | None
    """When to send it, in seconds from the beginning; None: as soon as a client is free."""


class Drive:
    """One load; it can be run once."""

    def __init__(
        self, invoke: Callable[[Model], object], tickets: Iterator[Ticket], *, clients: int, longest_s: float, name: str
    ) -> None:
        """*invoke* sends a request to a model. *longest_s*: how long requests are sent, in seconds."""
        self._invoke, self._tickets, self._clients = invoke, tickets, clients
        self._longest_s, self._name = longest_s, name
        self._taking = threading.Lock()
        self._over = threading.Event()
        self._sent: list[Sent] = []
        self._barrier = threading.Barrier(clients, action=self._begin)
        self.began_s = 0.0
        """When the clients began, on the monotonic clock."""
        self._logged_s = 0.0

    def _begin(self) -> None:
        self.began_s = self._logged_s = time.monotonic()

    def run(self) -> Load:
        """Send requests until the tickets or the time are used up; an error that is not a server's reply ends it, too."""
        used_s = time.process_time()
        with ThreadPoolExecutor(self._clients, "traffic") as pool:
            try:
                clients = [pool.submit(self._client) for _ in range(self._clients)]
                for client in clients:
                    client.result()
            except BaseException:
                self._barrier.abort()  # some may wait for others that have not begun
                raise
            finally:  # Ctrl-C, or what a client could not do
                self._over.set()
        seconds = max((one.answered_s for one in self._sent), default=0.0)
        share = (time.process_time() - used_s) / seconds if seconds else 0.0
        sent = sorted(self._sent, key=lambda one: one.sent_s)
        return Load(name=self._name, sent=sent, seconds=seconds, client_share=share)

    def _client(self) -> None:
        self._barrier.wait()
        try:
            while ticket := self._next():
                model, due_s = ticket
                sent_s = time.monotonic() - self.began_s
                outcome = outcome_of(self._invoke, model)
                answered_s = time.monotonic() - self.began_s
                sent = Sent(model=model.name, due_s=due_s, sent_s=sent_s, answered_s=answered_s, outcome=outcome)
                self._sent.append(sent)
                self._log_progress()
        except BaseException:
            self._over.set()  # the others need not go on
            raise

    def _next(self) -> tuple[Model, float] | None:
        """Wait until the next request is due, and return its model and that time; None when the load is over."""
        with self._taking:
            now_s = time.monotonic() - self.began_s
            ticket = None if self._over.is_set() or now_s >= self._longest_s else next(self._tickets, None)
        if ticket is None:
            return None
        due_s = now_s if ticket.due_s is None else ticket.due_s
        return None if self._over.wait(due_s - now_s) else (ticket.model, due_s)

    def _log_progress(self) -> None:
        """Log the progress of a long load."""
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            replies, seconds = len(self._sent), now_s - self.began_s
            failed = sum(one.outcome != "ok" for one in self._sent)
            log.info(
                "%s: %d replies in %.0f s, %.0f per second, %d failed",
                *(self._name, replies, seconds, replies / seconds, failed),
            )


def outcome_of(invoke: Callable[[Model], Any], model: Model) -> str:
    """Send a request, and return ``ok``, or the status, the code or the class of its error."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        invoke(model)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except ContractError as error:
        return str(error.status)
    except (BotoCoreError, NoAnswerError) as error:
        return type(error).__name__
    return "ok"
