"""The verdicts on a server, for people and for programs."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pytest_mme.contract.conformance.judge import ClauseVerdict, Report, Result

_STYLES: dict[ClauseVerdict, str] = {"pass": "green", "deviation": "bold red", "not judged": "yellow"}


def table(report: Report) -> Table:
    """A table with a row for each clause."""
    found = Table("clause", "verdict", "why", box=box.SIMPLE)
    for result in report.results:
        verdict = Text(result.verdict, _STYLES[result.verdict], no_wrap=True)
        found.add_row(Text(result.clause.id, no_wrap=True), verdict, Text(result.reason))
    return found


def explanation(result: Result) -> str:
    """Explain a deviation: what it is, the clause, and the last call."""
    last_call = [f"  sent: {last.sent}\n  seen: {last.seen}" for last in result.exchanges[-1:]]
    return "\n".join([result.reason, f"  clause: {result.clause.says} ({result.clause.source})", *last_call])


def summary(report: Report) -> str:
    """How many clauses have which verdict, and which models are left."""
    counts = (
        f"{report.count('pass')} pass, {report.count('deviation')} deviate, {report.count('not judged')} not judged"
    )
    left = f"; still loaded, as it was not unloaded: {', '.join(report.left)}" if report.left else ""
    return counts + left


def document(report: Report) -> dict[str, Any]:
    """The whole report for JSON; times in seconds."""
    return {
        "url": report.url,
        "verdict": report.verdict,
        "summary": {verdict.replace(" ", "_"): report.count(verdict) for verdict in _STYLES},
        "left": list(report.left),
        "clauses": [
            {
                "id": result.clause.id,
                "says": result.clause.says,
                "source": result.clause.source,
                "optional": result.clause.optional is not None,
                "verdict": result.verdict,
                "reason": result.reason,
                "exchanges": [
                    {"sent": exchange.sent, "seen": exchange.seen, "seconds": round(exchange.seconds, 6)}
                    for exchange in result.exchanges
                ],
            }
            for result in report.results
        ],
    }
