"""How many archives fit into a memory, from what each needs alone and all need together, measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import accumulate

import psutil

from pytest_mme.errors import ArchiveError, ContractError, NoAnswerError
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.server import Server

_ROUNDS = 4  # how often each of the concurrent requests is made: at first they do not all run at once
_SAMPLE_EVERY_S = 0.02
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """The private memory that was in use, in bytes; None for a step that was not reached."""

    loaded_bytes: int
    """After the load."""
    asked_bytes: int | None = None
    """The most until the reply to the first request."""
    busy_bytes: int | None = None
    """The most under concurrent requests."""

    @property
    def most_bytes(self) -> int:
        """The memory that must be available, in bytes."""
        return max(self.loaded_bytes, self.asked_bytes or 0, self.busy_bytes or 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """An archive to measure, and the request to send it."""

    label: str
    model: Model
    request: bytes | None
    """The body of a request, JSON; None: the archive is only loaded."""
    unasked: str = ""
    """Why there is no request."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one archive, alone on the server."""

    candidate: Candidate
    need: Need | None
    """None for an archive that could not be loaded."""
    failure: str = ""
    """Why it could not be loaded."""
    refused: str = ""
    """Why a request failed, or none was sent: the status, and the reply's first line; empty when all succeeded."""

    @property
    def again(self) -> Candidate:
        """The candidate for another measurement, without its request if that failed."""
        succeeded = self.need is not None and self.need.asked_bytes is not None
        return self.candidate if succeeded else dataclasses.replace(self.candidate, request=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhatFits:
    """What fits into a memory: numbers of archives, and bytes."""

    memory_bytes: int
    archives: int
    predicted_bytes: int
    """The sum of what each needs alone."""
    together_bytes: int | None
    """What all need together; None when that was not measured."""
    cheapest_bytes: int
    """What the archive needs that needs least."""
    dearest_bytes: int
    """What the archive needs that needs most."""
    any_of: int
    """So many fit, whichever they are, even those that need most."""
    some_of: int
    """So many fit if they are those that need least."""
    any_bytes: int
    """What the `any_of` archives need that need most."""
    some_bytes: int
    """What the `some_of` archives need that need least."""

    @property
    def needed_bytes(self) -> int:
        """What all need: the predicted or the measured memory, whichever is more."""
        return max(self.predicted_bytes, self.together_bytes or 0)

    @property
    def margin_bytes(self) -> int:
        """The memory that is left when all are loaded and busy; below 0: that is missing."""
        return self.memory_bytes - self.needed_bytes

    @property
    def all_fit(self) -> bool:
        """Whether all fit together."""
        return self.margin_bytes >= 0

    @property
    def error(self) -> float | None:
        """The relative error of the predicted memory; None when nothing was measured."""
        return None if not self.together_bytes else self.predicted_bytes / self.together_bytes - 1


def what_fits(needs_bytes: Sequence[int], memory_bytes: int, together_bytes: int | None = None) -> WhatFits:
    """How many of the archives that need *needs_bytes* alone, and *together_bytes* together, fit into *memory_bytes*.

    Raises ValueError when there are no archives.
    """
    if not needs_bytes:
        raise ValueError("there are no archives to measure")
    cheapest = sorted(needs_bytes)
    dearest = cheapest[::-1]
    most = len(cheapest) - int((together_bytes or 0) > memory_bytes)  # measured together they do not fit
    any_of, some_of = (min(how_many(ordered, memory_bytes), most) for ordered in (dearest, cheapest))
    return WhatFits(
        memory_bytes=memory_bytes,
        archives=len(cheapest),
        predicted_bytes=sum(cheapest),
        together_bytes=together_bytes,
        cheapest_bytes=cheapest[0],
        dearest_bytes=dearest[0],
        any_of=any_of,
        some_of=some_of,
        any_bytes=sum(dearest[:any_of]),
        some_bytes=sum(cheapest[:some_of]),
    )


def how_many(ordered_bytes: Iterable[int], memory_bytes: int) -> int:
    """How many of these fit together, taken in order."""
    return sum(taken <= memory_bytes for taken in accumulate(ordered_bytes))


def first_line(text: str) -> str:
    """The first line of *text* that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def error_in(body: str) -> str:
    """The message in the JSON of an error, or else the body itself."""
    try:
        content = json.loads(body)
    except ValueError:
        return body
    return content["error"] if isinstance(content, dict) and isinstance(content.get("error"), str) else body


class Capacity:
    """Measures archives on a server that has no memory limit and no other models."""

    def __init__(self, server: Server, *, concurrency: int) -> None:
        """*concurrency*: how many requests are sent to each model at once."""
        self._server, self._concurrency = server, concurrency
        self._idle_bytes = 0

    def alone(self, candidate: Candidate) -> Measured:
        """Load it into the empty server, send it one request, then several at once, and unload it."""
        self._idle_bytes = self._server.running.used_bytes()
        if failure := self._load(candidate):
            return Measured(candidate=candidate, need=None, failure=failure)
        need, refused = self._need([candidate])
        self._server.client.unload(self._server.identifier(candidate.model))  # 404 where its process has died
        return Measured(candidate=candidate, need=need, refused=refused or candidate.unasked)

    def together(self, alone: Sequence[Measured]) -> Need | str:
        """The need of all that loaded alone, together; or the reason why it cannot be measured.

        A candidate whose request failed alone is loaded, but sent none.
        """
        predicted_bytes = sum(one.need.most_bytes for one in alone if one.need is not None)
        candidates = [one.again for one in alone if one.need is not None]
        free_bytes = psutil.virtual_memory().available
        if predicted_bytes > free_bytes:
            return f"this machine has {free_bytes / _MIB:.0f} MiB free, and they need {predicted_bytes / _MIB:.0f}"
        self._idle_bytes = self._server.running.used_bytes()
        for candidate in candidates:
            if failure := self._load(candidate):
                return f"{candidate.label} did not load beside the others: {failure}"
        need, _ = self._need(candidates)
        return need

    def _load(self, candidate: Candidate) -> str:
        """Load it, and return why that failed; an empty string when it did not."""
        try:
            self._server.load(candidate.model)
        except ArchiveError as error:
            return first_line(error.seen)
        except ContractError as error:
            return self._error(candidate, error.status, error.body)
        except (NoAnswerError, OSError) as error:
            return first_line(str(error))
        return ""

    def _need(self, loaded: Sequence[Candidate]) -> tuple[Need, str]:
        """The need of loaded candidates, and why a request failed. One whose first request fails gets no more."""
        need = Need(loaded_bytes=self._used())
        asked = [candidate for candidate in loaded if candidate.request is not None]
        if not asked:
            return need, ""
        peak, refusals = self._peak(asked)
        willing = [candidate for candidate, refused in zip(asked, refusals, strict=True) if not refused]
        if not willing:
            return need, refusals[0]
        need = dataclasses.replace(need, asked_bytes=peak)
        peak, later = self._peak(willing * self._concurrency * _ROUNDS, threads=len(willing) * self._concurrency)
        wrong = [refused for refused in later if refused]
        failed = f"{len(wrong)} of {len(later)} concurrent requests: {wrong[0]}" if wrong else ""
        return dataclasses.replace(need, busy_bytes=peak), failed

    def _peak(self, asked: Sequence[Candidate], threads: int = 1) -> tuple[int, list[str]]:
        """Send a request to each of these, so many at once; the most memory in use meanwhile, and why each failed."""
        with ThreadPoolExecutor(threads) as pool:
            replies = [pool.submit(self._why_failed, candidate) for candidate in asked]
            pending, peak = set(replies), 0
            while pending:
                _, pending = wait(pending, timeout=_SAMPLE_EVERY_S, return_when=FIRST_COMPLETED)
                peak = max(peak, self._used())
            return peak, [reply.result() for reply in replies]

    def _why_failed(self, candidate: Candidate) -> str:
        """Send it a request, and return why that failed; an empty string when it did not."""
        try:
            identifier = self._server.identifier(candidate.model)
            reply = self._server.client.invoke(identifier, candidate.request or b"")
        except NoAnswerError as error:
            return first_line(str(error))
        return "" if reply.ok else self._error(candidate, reply.status, reply.text)

    def _error(self, candidate: Candidate, status: int, text: str) -> str:
        """The status and the first line of an error, with the candidate's label for the id that it was loaded under."""
        message = first_line(error_in(text)).replace(self._server.identifier(candidate.model), candidate.label)
        return f"{status}: {message}"

    def _used(self) -> int:
        return max(0, self._server.running.used_bytes() - self._idle_bytes)


def measured_alone(
    capacity: Capacity, candidates: Sequence[Candidate], progress: Callable[[str], None]
) -> list[Measured]:
    """Measure each of *candidates* alone, one after the other; *progress* is called with what is done next."""
    found = []
    for number, candidate in enumerate(candidates, start=1):
        progress(f"{number} of {len(candidates)}: {candidate.label}")
        found.append(capacity.alone(candidate))
    return found
