"""How many archives fit, from numbers; and the request of zeros, from signatures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_mme.contract.routes import MAX_BODY_BYTES
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import TensorSpec
from pytest_mme.measuring.capacity import Need, error_in, first_line, how_many, what_fits
from pytest_mme.measuring.sample_request import request_for
from pytest_mme.models.sample_inputs import NoRequestError


@pytest.mark.parametrize(
    ("needs", "memory", "any_of", "some_of"),
    [
        ([10, 20, 30], 60, 3, 3),
        ([10, 20, 30], 59, 2, 2),
        ([30, 10, 20], 50, 2, 2),
        ([10, 20, 30], 49, 1, 2),
        ([10, 20, 30], 29, 0, 1),  # the dearest is too large
        ([10, 20, 30], 9, 0, 0),
        ([20, 20, 20], 40, 2, 2),  # ties
        ([20, 20, 20], 39, 1, 1),
        ([10, 10, 1000], 100, 0, 2),
        ([10], 10, 1, 1),
        ([10], 9, 0, 0),
    ],
)
def test_how_many_fit_whichever_they_are_and_how_many_of_the_smallest(
    needs: list[int], memory: int, any_of: int, some_of: int
) -> None:
    verdict = what_fits(needs, memory)
    assert (verdict.any_of, verdict.some_of) == (any_of, some_of)
    assert verdict.all_fit == (any_of == len(needs))
    assert verdict.any_bytes == sum(sorted(needs)[len(needs) - any_of :])
    assert verdict.some_bytes == sum(sorted(needs)[:some_of])


def test_the_margin_is_the_memory_that_is_left_or_missing() -> None:
    assert what_fits([10, 20], 100).margin_bytes == 70
    assert what_fits([10, 20], 25).margin_bytes == -5
    assert what_fits([10, 20], 30).all_fit


def test_the_memory_measured_together_counts_when_it_is_more() -> None:
    verdict = what_fits([10, 20, 30], 62, together_bytes=65)
    assert (verdict.all_fit, verdict.margin_bytes, verdict.any_of, verdict.some_of) == (False, -3, 2, 2)
    assert verdict.error == pytest.approx(60 / 65 - 1)


def test_the_predicted_memory_counts_when_it_is_more() -> None:
    verdict = what_fits([10, 20, 30], 58, together_bytes=57)
    assert (verdict.all_fit, verdict.margin_bytes, verdict.needed_bytes) == (False, -2, 60)


def test_without_a_measurement_together_there_is_no_prediction_error() -> None:
    assert what_fits([10], 20).error is None


def test_the_largest_and_the_smallest_need_are_given() -> None:
    verdict = what_fits([20, 10, 30], 5)
    assert (verdict.cheapest_bytes, verdict.dearest_bytes) == (10, 30)


def test_no_archives_are_refused() -> None:
    with pytest.raises(ValueError, match="no archives to measure"):
        what_fits([], 100)


def test_counting_stops_at_the_first_archive_that_does_not_fit() -> None:
    assert how_many([50, 60, 1], 100) == 1


def test_a_need_is_the_most_of_its_steps() -> None:
    assert Need(loaded_bytes=5).most_bytes == 5
    assert Need(loaded_bytes=5, asked_bytes=9, busy_bytes=7).most_bytes == 9


@pytest.mark.parametrize(
    ("body", "message"),
    [('{"error": "no\\nmore"}', "no"), ("\n  plain \nmore", "plain"), ('["error"]', '["error"]'), ("", "")],
)
def test_the_message_of_an_error(body: str, message: str) -> None:
    assert first_line(error_in(body)) == message


def tensor(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec("x:0", _number(dtype), shape)


def _number(dtype: str) -> int:
    return next(number for number in protos.data_type_numbers() if protos.data_type_name(number) == f"DT_{dtype}")


@pytest.mark.parametrize(
    ("name", "spec", "value"),
    [
        ("x", tensor("FLOAT", None, 3), [[0.0, 0.0, 0.0]]),
        ("x", tensor("INT64"), 0),
        ("x", tensor("BOOL", 2), [False, False]),
        ("x", tensor("STRING", None), [""]),
        ("image_bytes", tensor("STRING", None), [{"b64": ""}]),
        ("x", TensorSpec("x:0", _number("HALF"), None), [0.0]),
    ],
)
def test_a_request_has_zeros_of_the_inputs_types_and_shapes(name: str, spec: TensorSpec, value: Any) -> None:
    assert json.loads(request_for({name: spec})) == {"inputs": {name: value}}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (tensor("COMPLEX64", None), "complex64"),
        (TensorSpec("", _number("FLOAT"), None), "not a plain tensor"),
        (tensor("FLOAT", None, MAX_BODY_BYTES), "more than a request can hold"),
        (tensor("FLOAT", None, MAX_BODY_BYTES // 3), "a request may have"),
    ],
)
def test_an_input_without_a_request_is_refused_with_the_reason(spec: TensorSpec, why: str) -> None:
    with pytest.raises(NoRequestError, match=why):
        request_for({"x": spec})
