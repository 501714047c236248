"""The checks as methods of what has a timeline."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_mme.checks.answers import check_answers
from pytest_mme.checks.naming import Named
from pytest_mme.checks.residency import check_evicted, check_resident
from pytest_mme.events import Event


class Checked:
    """Has a timeline, and the checks bound to it."""

    @property
    def timeline(self) -> Sequence[Event]:
        """What happened to it, in order."""
        raise NotImplementedError

    def check_evicted(self, *models: Named | str) -> None:
        """`checks.check_evicted` of this timeline."""
        check_evicted(self.timeline, *models)

    def check_resident(self, *models: Named | str) -> None:
        """`checks.check_resident` of this timeline."""
        check_resident(self.timeline, *models)

    def check_answers(self, *, at_least: int = 1) -> None:
        """`checks.check_answers` of this timeline."""
        check_answers(self.timeline, at_least=at_least)
