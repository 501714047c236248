"""Judges a running server by the container contract, clause by clause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from pytest_mme.contract.conformance.clauses import CLAUSES, Clause
from pytest_mme.contract.conformance.exchange import DeviationError, Exchange, NotJudgedError
from pytest_mme.contract.conformance.subject import CONTRACT_LIMITS, Limits, Specimens, Subject
from pytest_mme.contract.conformance.trial import Trial

__all__ = ["CLAUSES", "Clause", "Exchange", "Limits", "Report", "Result", "Specimens", "Subject", "judge_conformance"]

ClauseVerdict = Literal["pass", "deviation", "not judged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The verdict on one clause, with its reason."""

    clause: Clause
    verdict: ClauseVerdict
    reason: str = ""
    """What deviates, or why the clause was not judged; for a ``pass`` a note, mostly empty."""
    exchanges: tuple[Exchange, ...] = ()
    """The calls that were made, in order."""

    @property
    def open(self) -> bool:
        """Whether a clause that every server must keep was not judged."""
        return self.verdict == "not judged" and self.clause.optional is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The verdicts on a server."""

    url: str
    results: tuple[Result, ...]
    left: tuple[str, ...] = ()
    """Ids of the judge's models that the server did not unload."""

    @property
    def verdict(self) -> ClauseVerdict:
        """``deviation`` if there is one; ``not judged`` if a clause is open that every server must keep; or ``pass``."""
        if any(result.verdict == "deviation" for result in self.results):
            return "deviation"
        return "not judged" if any(result.open for result in self.results) else "pass"

    def count(self, verdict: ClauseVerdict) -> int:
        """How many clauses have this verdict."""
        return sum(result.verdict == verdict for result in self.results)


def judge_conformance(
    subject: Subject,
    specimens: Specimens,
    *,
    pages: bool = False,
    limits: Limits = CONTRACT_LIMITS,
    begin: Callable[[Clause], None] = lambda _: None,
) -> Report:
    """Judge a server by every clause; *begin* is called with each before it is judged.

    Loads models of its own, at most two at a time (*pages*: more than 100 tiny ones), which are unloaded and removed
    whatever happens; other models of the server do not matter. It never hangs with the server: a late reply is a
    deviation. Raises `OSError` where the models cannot be put, and whatever `Subject.place` raises.
    """
    trial = Trial(subject, specimens, limits)
    results: dict[str, Result] = {}
    try:
        silence = _why_silent(trial)
        for clause in CLAUSES:
            if reason := silence or _obstacle(clause, pages, subject, results):
                results[clause.id] = Result(clause=clause, verdict="not judged", reason=reason)
            else:
                begin(clause)
                results[clause.id] = _result(clause, trial)
    finally:
        trial.clear()
    return Report(url=subject.client.url, results=tuple(results.values()), left=tuple(trial.left))


def _why_silent(trial: Trial) -> str:
    """Why nothing can be judged: no reply to either of two calls; empty for a server that replies to one."""
    try:
        trial.ping()
    except DeviationError as no_ping:
        try:
            trial.page()
        except DeviationError as no_list:
            if str(no_ping) == str(no_list):
                return f"the server does not reply: {str(no_ping).removeprefix('no reply: ')}"
            return f"the server does not reply: ping, {no_ping}; list, {no_list}"
    return ""


def _obstacle(clause: Clause, pages: bool, subject: Subject, results: dict[str, Result]) -> str:
    if clause.optional == "pages" and not pages:
        return "it was not asked for: it loads more than 100 models"
    if clause.optional == "memory" and subject.used_bytes is None:
        return "the memory of this server is not measured"
    missing = [f"{name} ({results[name].verdict})" for name in clause.needs if results[name].verdict != "pass"]
    return f"it builds on {', '.join(missing)}" if missing else ""


def _result(clause: Clause, trial: Trial) -> Result:
    trial.exchanges.clear()
    trial.remark = ""
    verdict: ClauseVerdict = "pass"
    try:
        clause.judge(trial)
        reason = trial.remark
    except DeviationError as error:
        verdict, reason = "deviation", str(error)
    except NotJudgedError as error:
        verdict, reason = "not judged", str(error)
    finally:
        trial.clear()
    return Result(clause=clause, verdict=verdict, reason=reason, exchanges=tuple(trial.exchanges))
