"""The verdict of each check is that of the truth: in worlds whose truth is known, however they were recorded."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pytest_mme.checks import check_memory_bounded
from tests.truth import memory
from tests.truth.drawing import SHAPES, Shape, recordings, setting, settings
from tests.truth.explore import disagreements, drawn
from tests.truth.judged import judged, passes
from tests.truth.observer import Recording, record
from tests.truth.world import Defect, Setting, World


@examples(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(settings, recordings)
def test_each_verdict_is_that_of_the_truth(setting: Setting, how: Recording) -> None:
    assert not list(disagreements(setting, how))


@pytest.mark.stress
@pytest.mark.parametrize("since", range(0, 4000, 1000))
def test_each_verdict_is_that_of_the_truth_in_thousands_of_runs(since: int) -> None:
    """The first of those that `python -m tests.truth.explore` draws."""
    found = {number: texts for number in range(since, since + 1000) if (texts := list(disagreements(*drawn(number))))}
    assert found == {}


DEFECTIVE: dict[str, tuple[Defect, ...]] = {
    "answers": ("wrong predictions", "empty predictions", "never comes back"),
    "concurrent 2": ("one request at a time",),
    "loads once": ("loads twice",),
    "drained": ("drops requests at an unload",),
    "evictions": ("room shrinks",),
    "lru": ("evicts the most recently used", "evicts busy models"),
    "fifo": ("evicts the most recently used",),
    "lfu": ("evicts the most recently used",),
    "capacity": ("room for one more", "room shrinks"),
    "no thrash": ("room shrinks",),
    "recovers": ("never comes back", "comes back late", "comes back wrong", "a death breaks others' requests"),
    "isolated": ("a death takes others along", "wrong predictions"),
    "no stall": ("loads stall others",),
    "fair": ("the first model slows others", "one request at a time"),
}
"""Each check with the defects that it is there to find."""
_ENOUGH, _TRIES = 2, 3000


@pytest.mark.parametrize(
    ("check", "defect"), [(check, defect) for check, defects in DEFECTIVE.items() for defect in defects]
)
def test_each_check_fails_with_its_defect_and_passes_without(check: str, defect: Defect) -> None:
    """On the same requests, deaths and unloads, of which there must be some that bring the defect to light."""
    found = 0
    for number in range(_TRIES):
        shape: Shape = SHAPES[number % len(SHAPES)]
        sound, defective = (judge(check, setting(number, one, shape), number) for one in ("none", defect))
        assert sound[0] in (None, sound[1])
        assert defective[0] in (None, defective[1])
        found += sound == (True, True) and defective == (False, False)
        if found == _ENOUGH:
            return
    pytest.fail(f"{found} of {_TRIES} settings pass {check} while they are sound, and fail with: {defect}")


def judge(check: str, one: Setting, seed: int) -> tuple[bool | None, bool]:
    """The truth, and the verdict."""
    world, how = World(one), Recording(seed, server_sees=True, exact=True, engine_reports=True)
    all_of_them = judged([model.name for model in one.models], one.room, how)
    ((truth, judgement),) = ((truth, judgement) for name, truth, judgement in all_of_them if name == check)
    return truth(world), passes(judgement, record(world, how))[0]


rounds = st.builds(
    memory.Rounds,
    seed=st.integers(0, 2**32),
    rounds=st.integers(20, 40),
    models=st.integers(1, 2),
    base=st.floats(30, 500),
    leak=st.sampled_from((0.0, 1.0, 5.0)),
    noise=st.floats(0, 0.2),
    warm_up=st.sampled_from((0.0, 10.0)),
)


@examples(max_examples=300, deadline=None, derandomize=True)
@given(rounds)
def test_memory_is_bounded_exactly_where_nothing_is_kept_of_a_round(how: memory.Rounds) -> None:
    passed, why = passes(lambda events: check_memory_bounded(events, cycles=20), memory.record(how))
    assert passed is (how.leak == 0.0), why
