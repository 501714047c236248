"""Models of TensorFlow 1's kind, saved by TensorFlow: references for variables, serialised examples, state."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_mme.libtensorflow.saved_model import SavedModel
from tests.foreign.models import ForeignModels
from tests.unit.libtensorflow.conftest import Load


@pytest.mark.parametrize(("name", "more"), [("half_plus_two", 2), ("half_plus_three", 3)])
def test_half_plus_models_compute_their_formula(foreign: ForeignModels, load: Load, name: str, more: int) -> None:
    model = load(foreign(name) / "1")
    asked = np.array([[1], [2], [5]], np.float32)
    assert model.run({"x": asked})["y"].tolist() == (asked / 2 + more).tolist()


def test_half_plus_two_takes_serialised_examples(foreign: ForeignModels, load: Load) -> None:
    model = load(foreign("half_plus_two") / "1")
    example = b"\n\x0f\n\r\n\x01x\x12\x08\x12\x06\n\x04\x00\x00\x80?"  # tf.train.Example: feature x is the float 1
    answer = model.run({"inputs": np.array([example], object)}, signature="regress_x_to_y")
    assert answer["outputs"].tolist() == [[2.5]]


def count(model: SavedModel, signature: str, **inputs: float) -> float:
    fed = {name: np.float32(value) for name, value in inputs.items()}
    (answer,) = model.run(fed, signature=signature).values()
    return float(answer)


def test_counter_keeps_its_state_between_runs_and_none_between_loads(foreign: ForeignModels, load: Load) -> None:
    directory = foreign("counter") / "1"
    model, other = load(directory), load(directory)
    assert count(model, "get_counter") == 0
    assert [count(model, "incr_counter") for _ in range(3)] == [1, 2, 3]
    assert count(model, "incr_counter_by", delta=5) == 8
    assert count(other, "get_counter") == 0
    assert count(model, "reset_counter") == 0
