"""How many archives fit into a memory: what each takes alone and all take together, measured, and what follows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import accumulate

import psutil

from pytest_mme.contract.client import Reply
from pytest_mme.errors import ArchiveError, ContractError, NoAnswerError
from pytest_mme.models.builder import Model
from pytest_mme.runtimes.server import Server

_ROUNDS = 4  # how often each of the concurrent requests is made: at first they do not all run at once
_LOOK_EVERY_S = 0.02
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """The private memory that was seen in use, in bytes; None for what was not reached."""

    loaded_bytes: int
    """After the load."""
    asked_bytes: int | None = None
    """The most until the first request was answered."""
    busy_bytes: int | None = None
    """The most under concurrent requests."""

    @property
    def most_bytes(self) -> int:
        """What there must be room for."""
        return max(self.loaded_bytes, self.asked_bytes or 0, self.busy_bytes or 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """An archive that is to fit, and what to ask it."""

    label: str
    model: Model
    request: bytes | None
    """The body of a request, JSON; None: it is only loaded."""
    unasked: str = ""
    """Why there is no request."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen of one archive, alone on the server."""

    candidate: Candidate
    need: Need | None
    """None: it could not be loaded."""
    failure: str = ""
    """Why it could not be loaded."""
    refused: str = ""
    """Why it was not, or not only, asked with success: the status, and the answer's first line."""

    @property
    def again(self) -> Candidate:
        """Itself for another try: with its request only if it answered that."""
        answered = self.need is not None and self.need.asked_bytes is not None
        return self.candidate if answered else dataclasses.replace(self.candidate, request=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What fits into a memory. Numbers of archives, and bytes."""

    memory_bytes: int
    archives: int
    predicted_bytes: int
    """The sum of what each takes alone."""
    together_bytes: int | None
    """What all take together; None: that was not measured."""
    cheapest_bytes: int
    """What the one takes that takes least."""
    dearest_bytes: int
    """What the one takes that takes most."""
    any_of: int
    """So many fit, whichever they are: also the dearest."""
    some_of: int
    """So many fit if they are the cheapest."""
    any_bytes: int
    """What the dearest `any_of` need."""
    some_bytes: int
    """What the cheapest `some_of` need."""

    @property
    def needed_bytes(self) -> int:
        """What all need: predicted or measured together, whichever is more."""
        return max(self.predicted_bytes, self.together_bytes or 0)

    @property
    def margin_bytes(self) -> int:
        """What is left when all are loaded and busy; below 0: what is missing."""
        return self.memory_bytes - self.needed_bytes

    @property
    def all_fit(self) -> bool:
        """Whether all fit together."""
        return self.margin_bytes >= 0

    @property
    def error(self) -> float | None:
        """By what part of the measured sum the predicted one is off; None where nothing was measured."""
        return None if not self.together_bytes else self.predicted_bytes / self.together_bytes - 1


def judge(needs_bytes: Sequence[int], memory_bytes: int, together_bytes: int | None = None) -> Verdict:
    """What of archives that take *needs_bytes* each, and measured together *together_bytes*, fits into *memory_bytes*.

    ValueError for no archives.
    """
    if not needs_bytes:
        raise ValueError("no archives: there is nothing to judge")
    cheapest = sorted(needs_bytes)
    dearest = cheapest[::-1]
    most = len(cheapest) - int((together_bytes or 0) > memory_bytes)  # all together take more than alone: not all fit
    any_of, some_of = (min(how_many(ordered, memory_bytes), most) for ordered in (dearest, cheapest))
    return Verdict(
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
    """How many of these, from the first on, fit together."""
    return sum(taken <= memory_bytes for taken in accumulate(ordered_bytes))


def first_line(text: str) -> str:
    """The first line of *text* that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def error_in(body: str) -> str:
    """What the JSON of an error says, or else the body itself."""
    try:
        said = json.loads(body)
    except ValueError:
        return body
    return said["error"] if isinstance(said, dict) and isinstance(said.get("error"), str) else body


class Capacity:
    """Measures archives on a server that has no limit and no other models."""

    def __init__(self, server: Server, *, concurrency: int) -> None:
        """*concurrency*: how many requests each model gets at once."""
        self._server, self._concurrency = server, concurrency
        self._idle_bytes = 0

    def alone(self, candidate: Candidate) -> Measured:
        """Load it into the empty server, ask it once, then by many threads; and unload it."""
        self._idle_bytes = self._server.running.used_bytes()
        if failure := self._load(candidate):
            return Measured(candidate=candidate, need=None, failure=failure)
        need, refused = self._asked([candidate])
        self._server.client.unload(self._server.identifier(candidate.model))  # 404 where its process has died
        return Measured(candidate=candidate, need=need, refused=refused or candidate.unasked)

    def together(self, alone: Sequence[Measured]) -> Need | str:
        """The same of all that loaded, at once; the reason where that cannot be done. What refused is not asked again."""
        predicted_bytes = sum(one.need.most_bytes for one in alone if one.need is not None)
        candidates = [one.again for one in alone if one.need is not None]
        free_bytes = psutil.virtual_memory().available
        if predicted_bytes > free_bytes:
            return f"this machine has {free_bytes / _MIB:.0f} MiB free, and they need {predicted_bytes / _MIB:.0f}"
        self._idle_bytes = self._server.running.used_bytes()
        for candidate in candidates:
            if failure := self._load(candidate):
                return f"{candidate.label} did not load beside the others: {failure}"
        need, _ = self._asked(candidates)
        return need

    def _load(self, candidate: Candidate) -> str:
        """Load it; why it did not, else nothing."""
        try:
            self._server.load(candidate.model)
        except ArchiveError as error:
            return first_line(error.seen)
        except ContractError as error:
            return self._answered(candidate, error.status, error.body)
        except (NoAnswerError, OSError) as error:
            return first_line(str(error))
        return ""

    def _asked(self, loaded: Sequence[Candidate]) -> tuple[Need, str]:
        """What these take from now on, and why one was refused. One that refuses its first request gets no more."""
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
        told = f"{len(wrong)} of {len(later)} concurrent requests: {wrong[0]}" if wrong else ""
        return dataclasses.replace(need, busy_bytes=peak), told

    def _peak(self, asked: Sequence[Candidate], threads: int = 1) -> tuple[int, list[str]]:
        """Ask these, so many at once, and look at the memory until all have answered; the most, and each refusal."""
        with ThreadPoolExecutor(threads) as pool:
            answers = [pool.submit(self._refusal, candidate) for candidate in asked]
            pending, peak = set(answers), 0
            while pending:
                _, pending = wait(pending, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                peak = max(peak, self._used())
            return peak, [answer.result() for answer in answers]

    def _refusal(self, candidate: Candidate) -> str:
        """Ask it; the status and the first line of an answer that is none, else nothing."""
        try:
            reply = self._invoke(candidate)
        except NoAnswerError as error:
            return first_line(str(error))
        return "" if reply.ok else self._answered(candidate, reply.status, reply.text)

    def _answered(self, candidate: Candidate, status: int, text: str) -> str:
        """The status and the first line of an answer, which calls the model by the id that it was loaded under."""
        said = first_line(error_in(text)).replace(self._server.identifier(candidate.model), candidate.label)
        return f"{status}: {said}"

    def _invoke(self, candidate: Candidate) -> Reply:
        return self._server.client.invoke(self._server.identifier(candidate.model), candidate.request or b"")

    def _used(self) -> int:
        return max(0, self._server.running.used_bytes() - self._idle_bytes)


def measured_alone(capacity: Capacity, candidates: Sequence[Candidate], told: Callable[[str], None]) -> list[Measured]:
    """Each of *candidates*, one after the other; *told* is what is done next."""
    found = []
    for number, candidate in enumerate(candidates, start=1):
        told(f"{number} of {len(candidates)}: {candidate.label}")
        found.append(capacity.alone(candidate))
    return found
