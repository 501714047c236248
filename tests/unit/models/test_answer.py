"""`Answer == prediction`: the identity exactly, numbers nearly."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_mme.answers import BY_DTYPE, Answer, Tolerance, alike, recorded

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


WHOLE = [{"scores": [1.0, 2.0], "label": "cat", "id": 7}, [1.0], 1.5, "text", None, True, {"y": [1.0]}]


@pytest.mark.parametrize("value", WHOLE)
def test_a_whole_answer_is_the_prediction_itself(value: Any) -> None:
    answer = Answer(identity="mine", value=value, whole=True)
    assert agree(answer, json.loads(json.dumps(value)))
    assert [other for other in WHOLE if agree(answer, other)] == [value]
    assert agree(recorded(json.loads(json.dumps(answer.to_record()))), answer)
    assert repr(answer) == f"Answer({value!r})"


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_comes_back_from_its_record_as_it_was(whole: bool) -> None:
    tolerances: dict[str, Any] = {"tolerance": Tolerance(0.5, 0.25), "outputs": {"y": Tolerance(0.125, 1.0)}}
    answer = Answer(identity=IDENTITY, value={"y": [1.0]}, whole=whole, **(tolerances if whole else {}))
    again = recorded(json.loads(json.dumps(answer.to_record())))
    assert vars(again) == vars(answer)


def test_floats_may_differ_by_the_tolerance_and_whole_numbers_not_at_all() -> None:
    answer = Answer(identity="mine", value=[100.0, 7], whole=True, tolerance=Tolerance(0.1, 0.0))
    assert agree(answer, [109.0, 7])
    assert agree(answer, [109.0, 7.5])  # a float where a whole number was expected
    assert not agree(answer, [120.0, 7])
    assert not agree(answer, [100.0, 8])
    assert agree(Answer(identity="mine", value=0.0, whole=True, tolerance=Tolerance(0.0, 0.5)), 0.4)


def test_a_large_whole_number_is_compared_exactly() -> None:
    assert not agree(Answer(identity=IDENTITY, value=[1_000_000]), prediction([1_000_001]))


def test_each_output_has_its_own_tolerance() -> None:
    outputs = {"wide": Tolerance(0.1, 0.0), "narrow": Tolerance(1e-9, 0.0)}
    answer = Answer(identity="mine", value={"wide": [1.0], "narrow": [1.0], "more": 1.0}, whole=True, outputs=outputs)
    assert agree(answer, {"wide": [1.05], "narrow": [1.0], "more": 1.000001})
    assert not agree(answer, {"wide": [1.0], "narrow": [1.05], "more": 1.0})
    assert not agree(answer, {"wide": [1.0], "narrow": [1.0], "more": 1.05})
    assert not agree(answer, {"wide": [1.0], "narrow": [1.0]})


def test_the_tolerances_of_types_are_the_wider_the_fewer_bits_they_have() -> None:
    for narrow, wide in itertools.pairwise(BY_DTYPE.values()):
        assert narrow.relative < wide.relative
        assert narrow.absolute < wide.absolute
    bits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
    assert list(BY_DTYPE) == list(bits)
    assert all(BY_DTYPE[dtype].relative > 2.0**-count for dtype, count in bits.items())
