"""What a load is estimated to need, from graphs made by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.serving.memory.estimate import estimate
from tests.unit.libtensorflow.graphs import Graph, Shape, identity, shape_proto

VARIABLE, CONSTANT = 1.05, 3


def variable(graph: Graph, name: str, shape: Shape, *, op: str = "VarHandleOp", dtype: str = "DT_FLOAT") -> None:
    graph.node(op, name, dtype=dtype, shape=shape_proto(shape))


def needed(folder: Path, *graphs: Graph) -> int:
    for number, graph in enumerate(graphs, 1):
        graph.write(folder / str(number))
    return estimate(folder).bytes


@pytest.mark.parametrize("op", ["VarHandleOp", "VariableV2", "Variable", "TemporaryVariable"])
@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("DT_FLOAT", (10, 100), 4000),
        ("DT_DOUBLE", (100,), 800),
        ("DT_FLOAT", (), 4),
        ("DT_FLOAT", (0, 100), 0),
        ("DT_FLOAT", (10, None), 0),
        ("DT_FLOAT", None, 0),
        ("DT_RESOURCE", (100,), 0),
    ],
    ids=str,
)
def test_a_variable_counts_with_its_size_where_that_is_known(
    tmp_path: Path, op: str, dtype: str, shape: Shape, size: int
) -> None:
    graph = identity()
    variable(graph, "v", shape, op=op, dtype=dtype)
    assert needed(tmp_path, graph) == int(VARIABLE * size)


def test_variables_of_one_shared_name_count_once_and_others_each(tmp_path: Path) -> None:
    graph = identity()
    for name, shared in (("v", b"s"), ("w", b"s"), ("x", b"")):
        variable(graph, name, (100,))
        graph.meta_graph.graph_def.node[-1].attr["shared_name"].s = shared
    assert needed(tmp_path, graph) == int(VARIABLE * 800)


def constant(numbers: int) -> Any:
    return protos.TensorProto(
        dtype=protos.data_type_number("DT_FLOAT"),
        tensor_shape=shape_proto((numbers,)),
        tensor_content=bytes(4 * numbers),
    )


def test_constants_count_threefold_and_those_of_functions_too(tmp_path: Path) -> None:
    graph, value = identity(), constant(100)
    graph.const("c", value)
    function = graph.meta_graph.graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(op="Const", name="c").attr["value"].tensor.CopyFrom(value)
    function.node_def.add(op="VarHandleOp", name="v").attr["shape"].shape.CopyFrom(shape_proto((100,)))
    function.node_def[-1].attr["dtype"].type = protos.data_type_number("DT_FLOAT")
    assert needed(tmp_path, graph) == CONSTANT * 2 * value.ByteSize() + int(VARIABLE * 400)


def test_all_versions_count_and_none_beyond_what_a_number_holds(tmp_path: Path) -> None:
    first, second = identity(), identity()
    variable(first, "v", (100,))
    variable(second, "v", (1000,))
    assert needed(tmp_path, first, second) == int(VARIABLE * 400) + int(VARIABLE * 4000)
    variable(second, "w", (1 << 40, 1 << 40))
    assert needed(tmp_path, first, second) == 2**63 - 1


def test_a_graph_that_cannot_be_read_counts_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"garbage" * 100)
    assert estimate(tmp_path).bytes == 700


def test_a_graph_in_the_text_format_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pbtxt").write_text("meta_graphs {}")
    assert estimate(tmp_path).bytes == 0


def test_without_a_version_only_code_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "code").mkdir()
    with pytest.raises(ArchiveError):
        estimate(tmp_path / "model")
    assert estimate(tmp_path / "model", tmp_path / "code").bytes == 0


# The fingerprint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with a variable's files, code and a file beside them."""
    folder = tmp_path / "model"
    identity().write(folder / "1")
    (folder / "1" / "variables").mkdir()
    (folder / "1" / "variables" / "variables.index").write_bytes(b"12345")
    (folder / "code" / "lib").mkdir(parents=True)
    (folder / "code" / "lib" / "words.txt").write_bytes(b"12345")
    return folder


def change_graph(model: Path) -> None:
    identity("DT_DOUBLE").write(model / "1")


def change_variables(model: Path) -> None:
    (model / "1" / "variables" / "variables.index").write_bytes(b"123456")


def rename_variables(model: Path) -> None:
    shutil.move(model / "1" / "variables" / "variables.index", model / "1" / "variables" / "other.index")


def change_code(model: Path) -> None:
    (model / "code" / "lib" / "words.txt").write_bytes(b"123456")


@pytest.mark.parametrize(
    ("change", "with_code", "differs"),
    [
        (lambda _: None, False, False),
        (lambda _: None, True, False),
        (change_graph, False, True),
        (change_variables, False, True),
        (rename_variables, False, True),
        (change_code, False, False),
        (change_code, True, True),
        (change_variables, True, True),
    ],
)
def test_the_fingerprint_is_that_of_what_is_loaded(
    model: Path, change: Callable[[Path], object], with_code: bool, differs: bool
) -> None:
    code = model / "code" if with_code else None
    before = estimate(model, code).fingerprint
    change(model)
    assert (estimate(model, code).fingerprint != before) is differs


def test_the_same_model_has_the_same_fingerprint_elsewhere(model: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(model, tmp_path / "elsewhere")
    assert estimate(model).fingerprint == estimate(elsewhere).fingerprint
    assert estimate(model, model / "code").fingerprint == estimate(elsewhere, elsewhere / "code").fingerprint
    assert estimate(model).fingerprint != estimate(model, model / "code").fingerprint
