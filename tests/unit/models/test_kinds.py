"""What the written models predict, loaded by TensorFlow's own loader."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_mme.models.builder import Models
from pytest_mme.models.spec import WRITER, CustomOp, ModelSpec
from pytest_mme.models.writing.saved_model import saved_model, write
from tests.unit.models.conftest import InProcess, Run, ask


def test_every_model_of_a_fleet_predicts_its_own_line(models: Models, run_model: Run) -> None:
    a, b = models.fleet(2)
    seen = {
        model.name: run_model(model, calls=[ask([1.0]), ask([-2.5, 0.0, 7.25], [1.0, 2.0, 3.0])]) for model in (a, b)
    }
    for model, other in ((a, b), (b, a)):
        (single,), (first, second) = (call["predictions"] for call in seen[model.name]["calls"])
        assert single == model.answer([1.0])
        assert first == model.answer([-2.5, 0.0, 7.25])
        assert second == model.answer([1.0, 2.0, 3.0])
        assert single != other.answer([1.0])


def test_an_empty_batch_is_accepted_and_a_wrong_rank_refused(in_process: InProcess, tmp_path: Path) -> None:
    write(ModelSpec(name="m"), tmp_path / "m")
    script = (
        "import sys, pathlib, numpy as np\n"
        "from pytest_mme.libtensorflow import capi, saved_model\n"
        "model = saved_model.SavedModel(capi.Library(), pathlib.Path(sys.argv[1]))\n"
        "answer = model.run({'x': np.empty((0, 1), 'f')})\n"
        "print(answer['y'].shape, answer['identity'].shape)\n"
        "try: model.run({'x': np.ones(3, 'f')})\n"
        "except Exception as error: print(error)\n"
    )
    shapes, wrong_rank = in_process("-c", script, tmp_path / "m/1").splitlines()[:2]
    assert shapes == "(0, 1) (0,)"
    assert wrong_rank.startswith("INVALID_ARGUMENT: Shape of tensor")


def test_versions_and_signatures_predict_differently(models: Models, run_model: Run) -> None:
    model = models.linear("m", versions=(3, 1), signatures=("serving_default", "other"))
    for version in (1, 3):
        seen = run_model(model, version=version, calls=[ask([1.0]), ask([1.0], signature="other")])
        assert seen["signatures"] == ["other", "serving_default"]
        (plain,), (other,) = (call["predictions"] for call in seen["calls"])
        assert plain == model.answer([1.0], version=version)
        assert other == model.answer([1.0], version=version, signature="other")
    assert plain == model.answer([1.0])  # the highest version is what a server serves


def test_a_text_model_predicts_text(models: Models, run_model: Run) -> None:
    model = models.text(busy_ms=1)
    (call,) = run_model(model, calls=[ask("hello", "", "Grüße, 世界")])["calls"]
    assert call["predictions"] == [model.answer("hello"), model.answer(""), model.answer("Grüße, 世界")]


def test_a_counter_counts_from_zero_and_within_a_batch(models: Models, run_model: Run) -> None:
    model = models.counter(signatures=("serving_default", "also"))
    calls = run_model(model, calls=[ask([2.0]), ask([1.5], [4.0]), ask([0.0], signature="also")])["calls"]
    assert calls[0]["predictions"] == [model.answer([2.0])]
    assert calls[1]["predictions"] == [model.answer([1.5], before=2), model.answer([4.0], before=3.5)]
    assert calls[2]["predictions"] == [model.answer([0.0], before=7.5, signature="also")]


@pytest.mark.parametrize(("threads", "calls"), [(1, 10), (2, 5)])
def test_a_counter_loses_updates_only_when_calls_race(models: Models, run_model: Run, threads: int, calls: int) -> None:
    model = models.counter(sleep_ms=20)
    race = {"x": [[1.0]], "threads": threads, "calls": calls}
    ((prediction,),) = (call["predictions"] for call in run_model(model, races=[race], calls=[ask([0.0])])["calls"])
    (count,) = prediction["y"]
    assert count == 10 if threads == 1 else 2 <= count < 10


def test_tensorflows_python_loader_loads_every_kind(in_process: InProcess, tmp_path: Path) -> None:
    specs = [
        ModelSpec(name="costly", weights_mib=2, busy_ms=1, sleep_ms=1, allocate_mib=1),
        ModelSpec(name="counter", kind="counter"),
        ModelSpec(name="text", kind="text"),
    ]
    for spec in specs:
        write(spec, tmp_path / spec.name)
    script = (
        "import sys, tensorflow as tf\n"
        "for path, x in zip(sys.argv[1:], ([[2.0]], [[2.0]], ['hey'])):\n"
        "    model = tf.saved_model.load(path)\n"
        "    answer = model.signatures['serving_default'](x=tf.constant(x))\n"
        "    print({'identity': answer['identity'].numpy()[0].decode(), 'y': answer['y'].numpy()[0]}['identity'])\n"
    )
    printed = in_process("-c", script, *(tmp_path / spec.name / "1" for spec in specs))
    assert printed.split() == [spec.identity(1) for spec in specs]


def test_a_changed_archive_needs_a_new_writer_number() -> None:
    specs = (
        ModelSpec(name="m", weights_mib=1, busy_ms=1, sleep_ms=1, allocate_mib=1, signatures=("a", "serving_default")),
        ModelSpec(name="m", kind="counter"),
        ModelSpec(name="m", kind="text"),
        ModelSpec(name="m", custom_op=CustomOp()),
    )
    written = b"".join(saved_model(spec, 1).SerializeToString(deterministic=True) for spec in specs)
    seen = WRITER, hashlib.sha256(written).hexdigest()[:16]
    assert seen == (4, "09117596fdceca34"), (
        "the writer has changed: raise spec.WRITER, or caches keep serving the old models"
    )
