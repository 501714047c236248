"""Judges a running server by the container contract, clause by clause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

from pytest_mme.contract.conformance.clauses import CLAUSES, Clause
from pytest_mme.contract.conformance.exchange import DeviationError, Exchange, NotJudgedError
from pytest_mme.contract.conformance.subject import CONTRACT_LIMITS, Limits, Specimens, Subject
from pytest_mme.contract.conformance.trial import Trial

__all__ = ["CLAUSES", "Clause", "Exchange", "Limits", "Report", "Result", "Specimens", "Subject", "judge"]

Verdict = Literal["pass", "deviation", "not judged"]
_UNASKED = {
    "pages": "it was not asked for: it loads 100 models and more",
    "memory": "nobody measures this server's memory",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What was found about one clause."""

    clause: Clause
    verdict: Verdict
    reason: str = ""
    """What deviates, or why nothing can be said; for a ``pass`` a remark, mostly none."""
    exchanges: tuple[Exchange, ...] = ()
    """What was sent and seen, in order."""

    @property
    def open(self) -> bool:
        """Whether nothing is known about a clause that every server must keep."""
        return self.verdict == "not judged" and self.clause.optional is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was found about a server."""

    url: str
    results: tuple[Result, ...]
    left: tuple[str, ...] = ()
    """Ids of models of the judge that the server did not unload."""

    @property
    def verdict(self) -> Verdict:
        """``deviation`` if there is one; ``not judged`` if a clause is open that every server must keep; or ``pass``."""
        if any(result.verdict == "deviation" for result in self.results):
            return "deviation"
        return "not judged" if any(result.open for result in self.results) else "pass"

    def count(self, verdict: Verdict) -> int:
        """How many clauses have this verdict."""
        return sum(result.verdict == verdict for result in self.results)


def judge(
    subject: Subject,
    specimens: Specimens,
    *,
    pages: bool = False,
    limits: Limits = CONTRACT_LIMITS,
    begin: Callable[[Clause], None] = lambda _: None,
) -> Report:
    """Judge a server by every clause; *begin* hears of each before it is judged.

    Uses models of its own, at most two at a time (*pages*: more than 100 tiny ones), which are unloaded and removed
    whatever happens; other models of the server do not matter. Ends in time with servers that do not: a late answer is
    a deviation. Raises `OSError` where the models cannot be put, and whatever `Subject.place` raises.
    """
    trial = Trial(subject, specimens, limits)
    try:
        results = tuple(_results(trial, pages, begin))
    finally:
        trial.clear()
    return Report(url=subject.client.url, results=results, left=tuple(trial.left))


def _results(trial: Trial, pages: bool, begin: Callable[[Clause], None]) -> Iterator[Result]:
    verdicts: dict[str, Verdict] = {}
    silence = _silence(trial)
    unasked = {"pages"} if not pages else set()
    if trial.subject.used_bytes is None:
        unasked.add("memory")
    for clause in CLAUSES:
        if reason := silence or _obstacle(clause, unasked, verdicts):
            result = Result(clause=clause, verdict="not judged", reason=reason)
        else:
            begin(clause)
            result = _result(clause, trial)
        verdicts[clause.id] = result.verdict
        yield result


def _silence(trial: Trial) -> str:
    """Why nothing can be judged: nobody is there. A server that answers one of two calls is one."""
    try:
        trial.ping()
    except DeviationError as no_ping:
        try:
            trial.page()
        except DeviationError as no_list:
            return f"the server does not answer: ping, {no_ping}; list, {no_list}"
    return ""


def _obstacle(clause: Clause, unasked: set[str], verdicts: dict[str, Verdict]) -> str:
    if clause.optional in unasked:
        return _UNASKED[str(clause.optional)]
    missing = [f"{name} ({verdicts[name]})" for name in clause.needs if verdicts[name] != "pass"]
    return f"it builds on {', '.join(missing)}" if missing else ""


def _result(clause: Clause, trial: Trial) -> Result:
    trial.exchanges.clear()
    trial.remark = ""
    try:
        verdict, reason = _judged(clause, trial)
    finally:
        trial.clear()
    return Result(clause=clause, verdict=verdict, reason=reason, exchanges=tuple(trial.exchanges))


def _judged(clause: Clause, trial: Trial) -> tuple[Verdict, str]:
    try:
        clause.judge(trial)
    except DeviationError as error:
        return "deviation", str(error)
    except NotJudgedError as error:
        return "not judged", str(error)
    return "pass", trial.remark
