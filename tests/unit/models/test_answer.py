"""`Answer == prediction`: the identity exactly, numbers nearly."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.answers import Answer, alike

IDENTITY = "model-0/1#3f9ac1b2"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def prediction(y: Any, identity: str = IDENTITY) -> dict[str, Any]:
    return {"identity": identity, "y": y}


def agree(answer: Answer, seen: object) -> bool:
    """Whether they are equal; the two sides of `==` must not disagree about it."""
    assert (answer == seen) is (seen == answer) is not (answer != seen)
    return answer == seen


@given(VALUES)
def test_a_value_equals_itself_after_json(value: Any) -> None:
    assert agree(Answer(identity=IDENTITY, value=value), json.loads(json.dumps(prediction(value))))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_values_that_differ_in_the_last_bit_of_a_float32_are_equal(value: float) -> None:
    neighbour = float(np.nextafter(np.float32(value), np.float32(0)))
    assert agree(Answer(identity=IDENTITY, value=[value]), prediction([neighbour]))


@given(st.floats(min_value=1e-2, max_value=1e30), st.floats(min_value=1e-3, max_value=10))
def test_values_that_differ_by_a_tenth_of_a_percent_are_not_equal(value: float, excess: float) -> None:
    assert not agree(Answer(identity=IDENTITY, value=[value]), prediction([value * (1 + excess)]))


@pytest.mark.parametrize(
    "seen",
    [
        prediction([1.0], "model-1/1#3f9ac1b2"),
        prediction([1.0], IDENTITY.upper()),
        prediction(1.0),
        prediction([1.0, 1.0]),
        prediction(["1.0"]),
        prediction([True]),
        prediction([math.nan]),
        prediction({"0": 1.0}),
        {"y": [1.0]},
        {**prediction([1.0]), "more": 1},
        [1.0],
        None,
        Answer(identity="another", value=[1.0]),
        Answer(identity=IDENTITY, value=[2.0]),
    ],
)
def test_another_prediction_is_not_equal(seen: object) -> None:
    assert not agree(Answer(identity=IDENTITY, value=[1.0]), seen)


def test_two_answers_and_arrays_can_be_compared() -> None:
    answer = Answer(identity=IDENTITY, value=[1.0, math.nan])
    assert agree(answer, Answer(identity=IDENTITY, value=[1.000001, math.nan]))
    assert answer == prediction(np.array([1.0, math.nan], "f"))
    assert [answer, answer] == [prediction([1, math.nan])] * 2
    assert answer != np.array([1.0, 2.0])


def test_an_answer_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Answer(identity=IDENTITY, value=1.0))


def test_the_repr_shows_the_prediction() -> None:
    assert repr(Answer(identity="m/1#0", value=[1.5])) == "Answer({'identity': 'm/1#0', 'y': [1.5]})"


def test_nested_values_are_compared_at_every_level() -> None:
    assert alike({"a": [{"b": 1.0}]}, {"a": [{"b": 1.0000001}]})
    assert not alike({"a": [{"b": 1.0}]}, {"a": [{"b": 1.1}]})
    assert not alike({"a": 1.0}, {"b": 1.0})
