"""Where each finding begins and ends: sizes at the limit, nodes that do not run, names that only look alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.archives import checkpoint
from pytest_mme.archives.checkpoint import Entry
from pytest_mme.archives.inspect import Inspection, Member, inspected
from pytest_mme.archives.op_registry import registry
from pytest_mme.doctor import Finding, code, examine, files, graphs, layout, matters
from pytest_mme.libtensorflow import protos
from tests.unit.libtensorflow.graphs import Graph, Tensor, identity, keeping, shape_proto

LAST = registry().releases[-1]
Examine = Callable[..., list[Finding]]


def codes(findings: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in findings]


# The packing


def packed(*members: Member | str) -> Inspection:
    """An archive with these members, by their headers alone."""
    listed = [Member(name=one, kind="file", size=1) if isinstance(one, str) else one for one in members]
    return Inspection(path=Path("model.tar.gz"), size_bytes=1, members=tuple(listed), unreadable="", root=None)


def of_kind(archive: Inspection, wanted: str) -> list[str]:
    return [finding.fact for finding in layout.look(archive) if finding.code == wanted]


@pytest.mark.parametrize(("size", "facts"), [(1 << 30, []), ((1 << 30) + (1 << 29), ["1.5 GiB when unpacked"])])
def test_an_archive_is_large_above_a_gibibyte(size: int, facts: list[str]) -> None:
    assert of_kind(packed(Member(name="1/weights", kind="file", size=size)), "MME107") == facts


@pytest.mark.parametrize(
    "name", [".DS_Store", "1/.DS_Store", "._1", "1/._saved_model.pb", "__MACOSX/1/x", "1/__MACOSX/x"]
)
def test_each_kind_of_file_that_macos_leaves_is_found(name: str) -> None:
    assert of_kind(packed(name, "1/saved_model.pb"), "MME106") == [name]


@pytest.mark.parametrize("name", ["DS_Store", "1/a._b", "MACOSX/x", "1/x__MACOSX"])
def test_files_of_similar_names_are_not(name: str) -> None:
    assert of_kind(packed(name), "MME106") == []


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, " and 1 more"), (9, " and 4 more")])
def test_five_files_are_named_and_the_others_counted(count: int, more: str) -> None:
    names = [f"._{number}" for number in range(count)]
    assert of_kind(packed(*names), "MME106") == [", ".join(names[:5]) + more]


@pytest.mark.parametrize(("kind", "found"), [("link", True), ("other", True), ("file", False), ("folder", False)])
def test_links_and_special_files_are_found(kind: str, found: bool) -> None:
    assert of_kind(packed(Member(name="odd", kind=kind, size=0)), "MME102") == ["odd"] * found


@pytest.mark.parametrize("ending", [".keras", ".h5", ".hdf5"])
def test_each_kind_of_keras_file_is_found(ending: str) -> None:
    assert of_kind(packed(f"1/model{ending}"), "MME105") == [f"1/model{ending}"]
    assert of_kind(packed(f"1/model{ending}"), "MME103") == []


def test_a_saved_model_at_another_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "saved_model.pb").touch()
    with inspected(tmp_path) as archive:
        assert of_kind(archive, "MME103") == ["the SavedModel lies in export"]


# Variables


def entry(key: str, *, size: int = 1 << 20, checksum: int = 7, data_type: str = "DT_FLOAT") -> Entry:
    return Entry(key=key, shard=0, offset=0, size=size, checksum=checksum, data_type=data_type)


@pytest.mark.parametrize(
    ("copies", "facts"),
    [
        ([entry("b")], ["1.0 MiB, such as b, which is a"]),
        ([entry("b"), entry("c")], ["2.0 MiB, such as b, which is a"]),
        ([entry("b", size=(1 << 20) - 1), entry("c", size=(1 << 20) - 1)], []),
        ([entry("b", checksum=8)], []),
        ([entry("b", data_type="DT_INT32")], []),
        ([entry("b", size=1 << 21)], []),
        ([entry("b", size=1 << 21), entry("c", size=1 << 21)], ["2.0 MiB, such as c, which is b"]),
    ],
)
def test_large_variables_of_equal_content_are_found(
    monkeypatch: pytest.MonkeyPatch, copies: list[Entry], facts: list[str]
) -> None:
    monkeypatch.setattr(checkpoint, "entries", lambda _: [entry("a"), *copies])
    assert list(files._stored_twice(Path())) == facts


def test_of_several_damages_the_first_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    identity().write(tmp_path / "1")
    (tmp_path / "1" / "variables").mkdir()
    (tmp_path / "1" / "variables" / "variables.index").touch()
    monkeypatch.setattr(checkpoint, "check", lambda _: ["one", "another"])
    assert [(one.code, one.fact) for one in examine(tmp_path, [LAST])] == [("MME204", "one")]


def texts(*values: bytes, size: int | None = None) -> Any:
    """A `TensorProto`: a scalar, or a vector of *size*."""
    shape = shape_proto(() if size is None else (size,))
    return protos.TensorProto(dtype=protos.data_type_number("DT_STRING"), tensor_shape=shape, string_val=values)


def restoring(*names: bytes, constant: bool = True) -> Graph:
    """A graph whose loader restores variables of these names; they may be known only when it runs."""
    graph = identity()
    graph.const("prefix", texts(b""))
    graph.const("names", texts(*names, size=len(names)))
    graph.const("slices", texts(*[b""] * len(names), size=len(names)))
    given = "names" if constant else graph.node("Identity", "computed", "names", T="DT_STRING")
    graph.node("RestoreV2", "restore", "prefix", given, "slices", dtypes=["DT_FLOAT"] * len(names))
    graph.meta_graph.saver_def.restore_op_name = "restore"
    return graph


OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"


@pytest.mark.parametrize(
    ("graph", "facts"),
    [
        (restoring(b"w", b"v"), ["the graph restores 2, such as v"]),
        (restoring(b"w", OBJECT_GRAPH), ["the graph restores 1, such as w"]),
        (restoring(OBJECT_GRAPH), []),
        (restoring(b"w", constant=False), ["the graph restores 1, such as something"]),
        (identity(), []),
    ],
)
def test_variables_are_missing_where_the_graph_restores_some(tmp_path: Path, graph: Graph, facts: list[str]) -> None:
    graph.write(tmp_path / "1")
    assert [one.fact for one in examine(tmp_path, [LAST])] == [f"there is no variables/; {fact}" for fact in facts]
    (tmp_path / "1" / "variables").mkdir()
    assert [one.fact for one in examine(tmp_path, [LAST])] == [f"there is no variables.index; {it}" for it in facts]


@pytest.mark.parametrize("inputs", [[], ["x"]])
def test_a_graph_whose_restore_lacks_inputs_is_examined_all_the_same(tmp_path: Path, inputs: list[str]) -> None:
    graph = identity()
    graph.node("RestoreV2", "restore", *inputs, dtypes=["DT_FLOAT"])
    graph.meta_graph.saver_def.restore_op_name = "restore"
    graph.write(tmp_path / "1")
    (finding,) = examine(tmp_path, [LAST])
    assert (finding.code, finding.fact) == ("MME203", "there is no variables/; the graph restores 1, such as something")


def test_a_variable_that_a_request_fills_is_not_missing(tmp_path: Path) -> None:
    keeping().write(tmp_path / "1")
    assert codes(examine(tmp_path, [LAST])) == ["MME315"]


def test_a_variable_that_nothing_fills_is_found(tmp_path: Path) -> None:
    graph = identity()
    graph.node("VarHandleOp", "v", dtype="DT_FLOAT", shape=shape_proto(()), shared_name=b"v")
    graph.node("ReadVariableOp", "read", "v", dtype="DT_FLOAT")
    graph.sign({}, {"y": Tensor("read:0")}, name="kept")
    graph.write(tmp_path / "1")
    (finding,) = examine(tmp_path, [LAST])
    assert (finding.code, finding.fact) == ("MME208", "v, a VarHandleOp")


# Assets and paths


def asset_graph(*, read: bool) -> Graph:
    """A graph whose loader keeps an asset's path in a variable, which a signature may read."""
    graph = identity()
    graph.const("path", texts(b"words.txt"))
    graph.node("VarHandleOp", "v", dtype="DT_STRING", shape=shape_proto(()), shared_name=b"v")
    graph.node("AssignVariableOp", "assign", "v", "path", dtype="DT_STRING")
    graph.node("NoOp", "init", "^assign")
    graph.sign({}, {"init": Tensor("init:0")}, name="__saved_model_init_op")
    if read:
        graph.node("ReadVariableOp", "read", "v", dtype="DT_STRING")
        graph.sign({}, {"y": Tensor("read:0", "DT_STRING")}, name="other")
    graph.meta_graph.asset_file_def.add(filename="words.txt").tensor_info.name = "path:0"
    return graph


@pytest.mark.parametrize(("read", "found"), [(True, "MME205"), (False, "MME207")])
def test_an_asset_whose_path_is_kept_in_a_variable_is_read_where_that_is(
    tmp_path: Path, read: bool, found: str
) -> None:
    asset_graph(read=read).write(tmp_path / "1")
    assert codes(examine(tmp_path, [LAST])) == [found]
    (tmp_path / "1" / "assets").mkdir()
    (tmp_path / "1" / "assets" / "words.txt").touch()
    assert examine(tmp_path, [LAST]) == []


@pytest.mark.parametrize("op", ["Assert", "ReadFile"])
def test_an_asset_is_read_by_what_takes_its_path(tmp_path: Path, op: str) -> None:
    graph = identity()
    graph.const("path", texts(b"words.txt"))
    graph.node(op, "taker", "path")
    graph.meta_graph.graph_def.node[1].input.append("^taker")
    graph.meta_graph.asset_file_def.add(filename="words.txt").tensor_info.name = "path:0"
    graph.write(tmp_path / "1")
    assert codes(examine(tmp_path, [LAST])) == ["MME205"]


@pytest.mark.parametrize(
    ("path", "asset", "found"),
    [(b"/data/words.txt", False, ["MME206"]), (b"words.txt", False, []), (b"/data/words.txt", True, [])],
    ids=["absolute", "relative", "an asset"],
)
def test_a_table_that_is_read_from_an_absolute_path_is_found(
    tmp_path: Path, path: bytes, asset: bool, found: list[str]
) -> None:
    graph = identity()
    graph.const("path", texts(path))
    graph.node("HashTableV2", "table", key_dtype="DT_STRING", value_dtype="DT_INT64", shared_name=b"t")
    graph.node("InitializeTableFromTextFileV2", "fill", "table", "path", key_index=-2, value_index=-1)
    graph.node("NoOp", "init", "^fill")
    graph.sign({}, {"init": Tensor("init:0")}, name="__saved_model_init_op")
    if asset:  # the loader puts the asset's own path there
        graph.meta_graph.asset_file_def.add(filename="words.txt").tensor_info.name = "path:0"
    graph.write(tmp_path / "1")
    (tmp_path / "1" / "assets").mkdir()
    (tmp_path / "1" / "assets" / "words.txt").touch()
    assert codes(examine(tmp_path, [LAST])) == found


# The graph


@pytest.fixture
def beside(tmp_path: Path) -> Examine:
    """Examines a graph with one more operation, which runs before the answer, or which nothing needs."""

    def examine_with(op: str, *, version: str = LAST, runs: bool = True, device: str = "", **attributes: Any) -> Any:
        graph = identity()
        graph.node(op, "added", **attributes)
        graph.node(op, "again", **attributes)
        nodes = {node.name: node for node in graph.meta_graph.graph_def.node}
        for name in ("added", "again"):
            nodes[name].device = device
            if runs:
                nodes["y"].input.append(f"^{name}")
        graph.write(tmp_path / "1")
        return [finding for finding in examine(tmp_path, [version]) if finding.severity != "info"]

    return examine_with


GATHER = {"Tparams": "DT_FLOAT", "Tindices": "DT_INT32"}


@pytest.mark.parametrize(
    ("version", "runs", "found"),
    [("2.16.2", True, ["MME306"]), ("2.17.1", True, ["MME306"]), ("2.18.1", True, []), ("2.16.2", False, [])],
)
def test_a_later_attribute_matters_where_its_node_runs_and_until_a_release_heeds_it(
    beside: Examine, version: str, runs: bool, found: list[str]
) -> None:
    """TensorFlow 2.17 declares this one, and ignores it."""
    assert codes(beside("GatherNd", version=version, runs=runs, bad_indices_policy=b"IGNORE", **GATHER)) == found


def test_a_later_type_is_found_once_for_each_operation_that_takes_it(tmp_path: Path) -> None:
    graph = identity()
    for name, op in (("one", "GatherNd"), ("two", "GatherNd"), ("three", "ScatterNd")):
        graph.node(op, name, Tindices="DT_INT16")
    graph.write(tmp_path / "1")
    assert [finding.fact for finding in examine(tmp_path, ["2.8.4"])] == [
        *("Tindices=DT_INT16 of GatherNd, at one", "Tindices=DT_INT16 of ScatterNd, at three")
    ]


@pytest.mark.parametrize("name", ["_noted", "debug_name"])
def test_notes_of_the_graphs_builder_are_no_attributes(beside: Examine, name: str) -> None:
    assert beside("NoOp", **{name: b"x"}) == []


def test_an_operation_that_the_runtime_rewrites_needs_no_kernel(beside: Examine) -> None:
    assert beside("AccumulateNV2", T="DT_FLOAT", N=1, shape=shape_proto(())) == []


def test_a_type_of_references_is_known(beside: Examine) -> None:
    reference = protos.AttrValue(type=protos.data_type_number("DT_FLOAT") + 100)
    assert protos.data_type_name(reference.type) == "DT_FLOAT_REF"
    assert beside("Identity", T="DT_FLOAT_REF") == []
    assert beside("GatherNd", Tparams="DT_FLOAT_REF", Tindices="DT_INT32_REF") == []
    assert codes(beside("GatherNd", Tparams="DT_FLOAT_REF", Tindices="DT_FLOAT_REF")) == ["MME307"]


def test_an_unknown_type_in_a_list_is_found_once_for_all_nodes(tmp_path: Path) -> None:
    graph = identity()
    for name in ("added", "again"):
        graph.node("Assert", name, T=["DT_FLOAT"])
    for node in graph.meta_graph.graph_def.node:
        if node.op == "Assert":
            node.attr["T"].list.type[0] = 99
    graph.write(tmp_path / "1")
    (finding,) = examine(tmp_path, [LAST])
    assert (finding.code, finding.fact) == ("MME308", "T=99, at added")


@pytest.mark.parametrize("device", ["/device:GPU:0", "/gpu:0", "/job:localhost/device:gpu:1"])
def test_a_gpu_is_found_however_it_is_spelt(beside: Examine, device: str) -> None:
    (finding,) = beside("NoOp", device=device)
    assert (finding.code, finding.fact) == ("MME310", f"{device}, at added")
    assert beside("NoOp", device="/device:CPU:0") == []


SERVED = registry().graph_def(LAST)


@pytest.mark.parametrize(
    ("least", "bad", "facts"),
    [
        (SERVED, [], []),
        (SERVED + 1, [], [f"it requires {SERVED + 1} or later"]),
        (SERVED, [SERVED], ["it disallows that"]),
        (0, [SERVED], ["it disallows that"]),
        (0, [SERVED - 1], []),
    ],
)
def test_a_graph_refuses_what_is_below_its_least_consumer_and_what_it_names(
    tmp_path: Path, least: int, bad: list[int], facts: list[str]
) -> None:
    graph = identity()
    graph.meta_graph.graph_def.versions.min_consumer = least
    graph.meta_graph.graph_def.versions.bad_consumers[:] = bad
    graph.write(tmp_path / "1")
    found = [(finding.code, finding.fact) for finding in examine(tmp_path, [LAST])]
    assert found == [("MME301", f"its GraphDef version is {SERVED}; {fact}") for fact in facts]


def test_the_first_tensor_of_a_signature_that_is_not_there_is_named(tmp_path: Path) -> None:
    graph = identity()
    graph.sign({"x": Tensor("x:0")}, {"y": Tensor("gone:0")}, name="a")
    graph.sign({"x": Tensor("lost:0")}, {"y": Tensor("gone:0")}, name="b")
    graph.write(tmp_path / "1")
    found = {(one.code, one.fact) for one in examine(tmp_path, [LAST])}
    assert found == {("MME312", "a: gone:0"), ("MME312", "b: lost:0")}


def test_each_later_operation_is_found(tmp_path: Path) -> None:
    graph = identity()
    graph.node("DecodeWebP", "one")
    graph.node("StochasticCastToInt", "another")
    graph.node("NoSuchOp", "third")
    graph.write(tmp_path / "1")
    assert codes(examine(tmp_path, ["2.5.3"])) == ["MME303", "MME303", "MME304"]


def with_function(op: str, called: str, *, name: str = "f", runs: bool) -> Graph:
    """A graph with a function that consists of *op*, and a node *called*, which may be the function itself."""
    graph = identity()
    function = graph.meta_graph.graph_def.library.function.add()
    function.signature.name = name
    function.node_def.add(name="inside", op=op)
    node = graph.meta_graph.graph_def.node.add(name="call", op=called)
    if called != name:
        node.attr["f"].func.name = name
    if runs:
        next(node for node in graph.meta_graph.graph_def.node if node.name == "y").input.append("^call")
    return graph


@pytest.mark.parametrize(("runs", "found"), [(True, ["MME305"]), (False, [])])
def test_a_kernel_is_missed_only_where_its_function_runs(tmp_path: Path, runs: bool, found: list[str]) -> None:
    with_function("FFTND", "PartitionedCall", runs=runs).write(tmp_path / "1")
    assert codes(examine(tmp_path, ["2.15.1"])) == found


def test_a_function_may_have_the_name_of_a_later_operation(tmp_path: Path) -> None:
    with_function("NoOp", "DecodeWebP", name="DecodeWebP", runs=True).write(tmp_path / "1")
    assert examine(tmp_path, ["2.18.1"]) == []


# Code, and the list of findings


@pytest.fixture
def coded(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a model with an inference.py."""

    def write(source: str) -> Path:
        identity().write(tmp_path / "1")
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "inference.py").write_text(source)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from .tensorflow import x", []),
        ("from .. import keras", []),
        ("cache = {}\nasync def f():\n    cache[1] = 2", ["MME404"]),
        ("a = '\0'", ["MME402"]),
        ("import tensorflow; import tensorflow", ["MME403"]),
    ],
    ids=ascii,
)
def test_code_is_read_as_python_reads_it(coded: Callable[[str], Path], source: str, found: list[str]) -> None:
    findings = examine(coded(source), [LAST])
    assert codes(findings) == found
    assert [finding.tensorflow for finding in findings] == [""] * len(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import json, os.path\nfrom a.b import c\ndef f():\n    import numpy as np", ["a", "json", "numpy", "os"]),
        ("import json\ndef handler(:", []),
        ("", []),
    ],
    ids=["everywhere", "no Python", "none"],
)
def test_the_imports_of_code(coded: Callable[[str], Path], source: str, found: list[str]) -> None:
    with inspected(coded(source)) as archive:
        assert code.imports(archive) == found


def test_an_archive_without_code_has_no_imports(tmp_path: Path) -> None:
    identity().write(tmp_path / "1")
    with inspected(tmp_path) as archive:
        assert code.imports(archive) == []


def test_five_requirements_are_named(coded: Callable[[str], Path]) -> None:
    folder = coded("")
    (folder / "code" / "requirements.txt").write_text("\n".join("abcdefg"))
    (finding,) = examine(folder, [LAST])
    assert (finding.code, finding.fact) == ("MME401", "a, b, c, d, e")


def test_the_worst_findings_come_first(coded: Callable[[str], Path]) -> None:
    folder = coded("import tensorflow\nseen = []\ndef f():\n    seen.append(1)")
    (folder / ".DS_Store").touch()
    (folder / "1" / "saved_model.pb").write_bytes(b"garbage" * 100)
    assert codes(examine(folder, [LAST])) == ["MME201", "MME403", "MME106", "MME404"]


@pytest.mark.parametrize(
    ("kind", "matters_"), [(graphs.LATER_OP, True), (code.REQUIREMENTS, True), (layout.LARGE, False)]
)
def test_warnings_and_errors_matter(kind: Any, matters_: bool) -> None:
    finding = Finding(kind=kind, fact="x")
    assert matters([Finding(kind=layout.LARGE, fact="y"), finding]) is matters_
    assert not matters([])


def test_a_heading_names_the_place_and_the_versions() -> None:
    title = graphs.LATER_OP.title
    assert Finding(kind=graphs.LATER_OP, fact="").heading == title
    assert Finding(kind=graphs.LATER_OP, fact="", where="1", tensorflow="2.5.3").heading == (
        f"{title} in 1 on TensorFlow 2.5.3"
    )


def test_a_finding_as_text_says_what_was_seen_why_it_matters_and_what_to_do() -> None:
    kind = graphs.LATER_OP
    assert Finding(kind=kind, fact="DecodeWebP").lines == [
        *("seen: DecodeWebP", f"why:  {kind.why}", f"next: {kind.advice}")
    ]
