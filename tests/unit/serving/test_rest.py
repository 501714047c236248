"""Bodies to tensors and back, with a model that gives back what it gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import Signature, TensorSpec
from pytest_mme.serving import rest


class Echo:
    """Answers with its inputs."""

    def __init__(self, *data_types: str) -> None:
        specs = {
            f"x{number}": TensorSpec(f"x{number}:0", protos.data_type_number(data_type), None)
            for number, data_type in enumerate(data_types)
        }
        self.signatures = {"serving_default": Signature("serving_default", "predict", specs, specs)}

    def run(self, inputs: Mapping[str, Any], *, signature: str) -> dict[str, Any]:
        self.seen = {name: array.dtype for name, array in inputs.items()}
        return dict(inputs)


def ask(data_type: str, instances: list[Any]) -> Any:
    echo = Echo(data_type)
    answer = json.loads(rest.predict(echo, json.dumps({"instances": instances}).encode()))  # type: ignore[arg-type]
    return answer["predictions"], echo.seen["x0"]


INTEGERS = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_every_size_take_what_they_can_hold(name: str) -> None:
    limits = np.iinfo(name.lower())
    values = [limits.min, 0, limits.max]
    assert ask(f"DT_{name}", values) == (values, np.dtype(name.lower()))
    for too_much in (limits.min - 1, limits.max + 1):
        with pytest.raises(TensorFlowError, match=r"INVALID_ARGUMENT: input 'x0' takes u?int"):
            ask(f"DT_{name}", [too_much])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("HALF", "float16"), ("FLOAT", "float32"), ("DOUBLE", "float64"), ("BFLOAT16", ml_dtypes.bfloat16)],
)
def test_floats_of_every_size_take_any_number(name: str, dtype: Any) -> None:
    assert ask(f"DT_{name}", [[1.5], [2], [-0.25]]) == ([[1.5], [2.0], [-0.25]], np.dtype(dtype))


@pytest.mark.parametrize(("name", "value"), [("BOOL", True), ("STRING", "text"), ("STRING", "é\u0000")])
def test_other_types(name: str, value: object) -> None:
    assert ask(f"DT_{name}", [value, value])[0] == [value, value]


@pytest.mark.parametrize(
    ("name", "value"),
    [("FLOAT", True), ("INT32", True), ("INT32", 1.5), ("BOOL", 1), ("FLOAT", "1"), ("STRING", 1), ("FLOAT", None)],
)
def test_values_of_another_kind_are_refused(name: str, value: object) -> None:
    with pytest.raises(TensorFlowError, match="INVALID_ARGUMENT: input 'x0' takes"):
        ask(f"DT_{name}", [value])


def test_what_is_not_finite_is_written_as_tensorflow_serving_does() -> None:
    body = b'{"instances": [NaN, Infinity, -Infinity, 1.0]}'
    assert rest.predict(Echo("DT_FLOAT"), body) == b'{"predictions": [NaN, Infinity, -Infinity, 1.0]}'  # type: ignore[arg-type]


def test_several_inputs_are_named() -> None:
    echo = Echo("DT_FLOAT", "DT_STRING")
    body = b'{"instances": [{"x0": 1.0, "x1": "a"}, {"x0": 2.0, "x1": "b"}]}'
    answer = json.loads(rest.predict(echo, body))  # type: ignore[arg-type]
    assert answer == {"predictions": [{"x0": 1.0, "x1": "a"}, {"x0": 2.0, "x1": "b"}]}
    with pytest.raises(TensorFlowError, match="the model has the inputs x0, x1: give each instance as an object"):
        rest.predict(echo, b'{"instances": [1.0]}')  # type: ignore[arg-type]
