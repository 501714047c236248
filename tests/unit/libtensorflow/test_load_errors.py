"""What the C++ loader refuses, with its own code and words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from tests.unit.libtensorflow import graphs
from tests.unit.libtensorflow.conftest import Load


def absent(directory: Path) -> Path:
    return directory / "absent"


def empty_folder(directory: Path) -> Path:
    return directory


def contents(serialised: bytes) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        (directory / "saved_model.pb").write_bytes(serialised)
        return directory

    return write


def cut(directory: Path) -> Path:
    whole = graphs.identity().write(directory) / "saved_model.pb"
    whole.write_bytes(whole.read_bytes()[:-3])
    return directory


def unknown_op(directory: Path) -> Path:
    graph = graphs.identity()
    graph.node("OpFromTheFuture", "odd")
    return graph.write(directory)


def unknown_dtype(directory: Path) -> Path:
    graph = graphs.identity()
    graph.meta_graph.graph_def.node[0].attr["dtype"].type = 99
    return graph.write(directory)


def min_consumer_from_the_future(directory: Path) -> Path:
    graph = graphs.identity()
    graph.meta_graph.graph_def.versions.min_consumer = 1_000_000
    return graph.write(directory)


@pytest.mark.parametrize(
    ("spoilt", "code", "words"),
    [
        (absent, "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt"),
        (empty_folder, "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt"),
        (contents(b"<html>not found</html>" * 10), "DATA_LOSS", "as binary proto"),
        (contents(b""), "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve }"),
        (cut, "OUT_OF_RANGE", "Read less bytes than requested"),
        (unknown_op, "NOT_FOUND", "Op type not registered 'OpFromTheFuture' in binary running on"),
        (unknown_dtype, "INVALID_ARGUMENT", "unknown dtype enum (99)"),
        (min_consumer_from_the_future, "INVALID_ARGUMENT", "GraphDef min consumer version 1000000 above current"),
    ],
    ids=["absent", "empty folder", "garbage", "empty pb", "cut", "unknown op", "unknown dtype", "min_consumer"],
)
def test_the_loaders_errors_are_passed_on(
    load: Load, tmp_path: Path, spoilt: Callable[[Path], Path], code: str, words: str
) -> None:
    with pytest.raises(TensorFlowError) as caught:
        load(spoilt(tmp_path))
    assert caught.value.code == code
    assert words in caught.value.message


@pytest.mark.parametrize("tags", [(), ("gpu",), ("serve", "gpu")], ids=str)
def test_tags_that_the_model_does_not_have_are_refused(load: Load, tags: tuple[str, ...]) -> None:
    with pytest.raises(TensorFlowError, match="Could not find meta graph def matching supplied tags") as caught:
        load(graphs.identity(), tags=tags)
    assert caught.value.code == "NOT_FOUND"


def test_tags_that_the_model_has_choose_its_graph(load: Load, tmp_path: Path) -> None:
    directory = graphs.identity().write(tmp_path, tags=("serve", "gpu"))
    assert load(directory, tags=("gpu", "serve")).run({"x": np.array([1], np.float32)})["y"].tolist() == [1]


def test_an_invalid_config_is_refused(load: Load) -> None:
    with pytest.raises(TensorFlowError, match="Unparseable ConfigProto") as caught:
        load(graphs.identity(), config=b"garbage")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_folder_whose_name_is_not_utf_8_is_loaded(load: Load, tmp_path: Path) -> None:
    directory = graphs.identity().write(tmp_path / "caf\udce9")
    assert load(directory).run({"x": np.array([1], np.float32)})["y"].tolist() == [1]


def test_a_failed_init_op_fails_the_load(load: Load) -> None:
    graph = graphs.identity()
    graph.const("no", protos.TensorProto(dtype=10, tensor_shape=graphs.shape_proto(()), bool_val=[False]))
    graph.const("why", protos.TensorProto(dtype=7, tensor_shape=graphs.shape_proto(()), string_val=[b"not today"]))
    graph.node("Assert", "init", "no", "why", T=["DT_STRING"])
    graph.sign({}, {"__saved_model_init_op": graphs.Tensor("init:0")}, name="__saved_model_init_op")
    with pytest.raises(TensorFlowError, match="not today") as caught:
        load(graph)
    assert caught.value.code == "INVALID_ARGUMENT"
