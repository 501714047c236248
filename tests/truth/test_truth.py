"""The verdict of each check is that of the truth: in worlds whose truth is known, however they were recorded."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from tests.truth.drawing import recordings, settings
from tests.truth.judged import judged, passes
from tests.truth.observer import Recording, record
from tests.truth.world import Setting, World

EXPLORE = os.environ.get("MME_EXPLORE")


def agree(setting: Setting, how: Recording) -> None:
    world = World(setting)
    events = record(world, how)
    for name, truth, check in judged(world, how):
        if truth is not None:
            assert (name, *passes(check, events))[:2] == (name, truth), passes(check, events)[1] or f"{name} passes"


@examples(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(settings, recordings)
def test_each_verdict_is_that_of_the_truth(setting: Setting, how: Recording) -> None:
    agree(setting, how)


@pytest.mark.stress
@examples(
    max_examples=int(EXPLORE or 3000), deadline=None, derandomize=not EXPLORE, suppress_health_check=list(HealthCheck)
)
@given(settings, recordings)
def test_each_verdict_is_that_of_the_truth_in_thousands_of_runs(setting: Setting, how: Recording) -> None:
    agree(setting, how)
