"""The predictions of models, against what they must be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_mme import answers
from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event
from pytest_mme.timeline.observed import requests
from pytest_mme.timeline.wording import Named, counted, listed, name_of, outcomes, some, when


@fails_at_the_call
def check_answers(
    events: Iterable[Event], *models: Named | str, at_least: int = 1, allow_failures: bool = False, soft: bool = False
) -> None:
    """Fail unless every request to *models*, or to all, got the prediction that its model must give for that instance.

    A request that failed did not get it; with ``allow_failures=True`` only those that succeeded are judged.

    Seen by: the test, which has the predictions.
    Reads: `invoke` events of the kit's own calls, with what was expected and what was predicted.
    Nothing to judge: fewer than *at_least* predictions that are known beforehand, *at_least* below 1, a model without any,
    or a prediction that nobody knows: an archive without ``answers=``, a counter without ``before=``.
    Cannot see: what other boto3 clients were answered.
    """
    with softly(soft):
        if at_least < 1:
            raise AssertionError(f"at_least={at_least} judges nothing: ask for 1 or more predictions")
        names = [name_of(model) for model in models]
        asked = [event for event in requests(events, names) if not allow_failures or event.outcome == "ok"]
        calls = [event for event in asked if event.kind == "invoke" and event.source != "server"]
        judged = [event for event in calls if {"expected", "got"} <= event.detail.keys()]
        if len(judged) < at_least:
            raise AssertionError(
                f"{counted(len(judged), 'prediction')} with a known expected value, and at least {at_least} must have "
                f"been recorded; requests: {len(asked)}"
            )
        known = {event.model for event in judged}
        if missing := sorted({event.model for event in asked if event.model} - known):
            raise AssertionError(
                f"no prediction of {listed(missing)} is known beforehand, so they cannot be judged: give the archive "
                "answers=, or name the models to judge"
            )
        unknown = [event for event in calls if event.outcome == "ok" and not {"expected", "got"} <= event.detail.keys()]
        if unknown:
            raise AssertionError(
                f"{len(unknown)} of {counted(len(calls), 'request')} got predictions that nobody knows beforehand: "
                f"{some(unknown, when)}"
            )
        if missing := [name for name in names if name not in known]:
            raise AssertionError(f"{listed(missing)} was not asked for a prediction, so there is nothing to judge")
        if failed := [event for event in calls if event.outcome != "ok"]:
            raise AssertionError(
                f"{len(failed)} of {counted(len(calls), 'request')} failed: {outcomes(failed)}; "
                "allow_failures=True judges only those that succeeded"
            )
        wrong = [event for event in judged if is_wrong(event)]
        if wrong:
            shown = some(wrong, lambda event: _difference(event, judged), between="\n  ")
            raise AssertionError(f"{len(wrong)} of {len(judged)} predictions are wrong:\n  {shown}")


def is_wrong(event: Event) -> bool:
    """Whether the prediction of a request is known beforehand, and another one came."""
    detail = event.detail
    return {"expected", "got"} <= detail.keys() and bool(answers.recorded(detail["expected"]) != detail["got"])


def why_not_right(event: Event) -> str:
    """Why a request cannot be said to have got the right prediction, for a message; empty where it can.

    Where the test saw the reply only by its status, as that of another boto3 client, the status is all there is.
    """
    if event.outcome != "ok":
        return event.outcome
    if is_wrong(event):
        return f"predicted {event.detail.get('got')!r}, not {answers.recorded(event.detail['expected'])}"
    if "expected" in event.detail and "got" not in event.detail:
        return "got no prediction"
    if "got" in event.detail and "expected" not in event.detail:
        return f"predicted {event.detail['got']!r}, and nobody knows what is right (an archive takes answers=)"
    return ""


def _difference(event: Event, judged: Sequence[Event]) -> str:
    expected, got = event.detail["expected"], event.detail["got"]
    whose = _whose(event, judged)
    crossed = f" (that is {whose}'s)" if whose else ""
    return f"at {event.at_s:.2f} s {event.model} answered {got!r}{crossed}, not {answers.recorded(expected)}"


def _whose(event: Event, judged: Sequence[Event]) -> str | None:
    """The other model whose prediction a request got: by the identity in it, or else by what others must predict for the same."""
    expected, got = event.detail["expected"], event.detail["got"]
    identity = got.get("identity") if isinstance(got, dict) else None
    if identity and identity not in (expected.get("identity"), event.model):
        return str(identity)
    mine = answers.recorded(expected)
    others = (one for one in judged if one.model != event.model and one.detail.get("x") == event.detail.get("x"))
    theirs = ((one.model, answers.recorded(one.detail["expected"])) for one in others)
    return next((model for model, answer in theirs if answer == got and mine != answer.value), None)
