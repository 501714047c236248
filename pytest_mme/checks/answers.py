"""The predictions of models, against what they must be."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_mme import answers
from pytest_mme.checks.soft import softly
from pytest_mme.checks.tracebacks import fails_at_the_call
from pytest_mme.timeline.events import Event

_SHOWN = 5


@fails_at_the_call
def check_answers(events: Iterable[Event], *, at_least: int = 1, soft: bool = False) -> None:
    """Fail unless every recorded prediction is what the model that was asked must give, in identity and value.

    Judged are the calls of `endpoint.invoke` and `server.invoke` for which the prediction is known beforehand; at least
    *at_least* of them must have been recorded.
    """
    with softly(soft):
        judged = [event for event in events if event.kind == "invoke" and "expected" in event.detail]
        if len(judged) < at_least:
            raise AssertionError(
                f"{len(judged)} predictions with a known expected value were recorded; at least {at_least} must be"
            )
        wrong = [event for event in judged if answers.recorded(event.detail["expected"]) != event.detail["got"]]
        if wrong:
            shown = "\n".join(f"  {_difference(event)}" for event in wrong[:_SHOWN])
            raise AssertionError(f"{len(wrong)} of {len(judged)} predictions are wrong:\n{shown}")


def _difference(event: Event) -> str:
    expected, got = event.detail["expected"], event.detail["got"]
    identity = got.get("identity") if isinstance(got, dict) else None
    crossed = f" (that is {identity}'s)" if identity and identity != expected["identity"] else ""
    return f"at {event.at_s:.2f} s {event.model} answered {got!r}{crossed}, not {answers.recorded(expected)!r}"
