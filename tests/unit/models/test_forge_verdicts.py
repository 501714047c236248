"""What TensorFlow's own loader does with each forgery."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.models.forging.forge import FORGERIES, forge
from pytest_mme.models.spec import ModelSpec
from pytest_mme.models.writing.graph import Nodes, new_graph, shape, tensor, type_of, types_of
from pytest_mme.models.writing.saved_model import write
from tests.foreign.models import ForeignModels
from tests.unit.models.conftest import InProcess


class Verdict(NamedTuple):
    """How far a model comes, and the status and words that stop it: the kit's own words have the status KIT."""

    comes_to: str  # "load", "predict" or "answer"
    code: str = ""
    words: str = ""


ANSWERS = Verdict("answer")
NOT_THERE = Verdict("load", "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt at supplied export directory path")
GARBAGE = Verdict("load", "DATA_LOSS", "saved_model.pb as binary proto")
NO_VARIABLE = Verdict("predict", "FAILED_PRECONDITION", "Could not find variable w")
UNKNOWN_OP = Verdict("load", "NOT_FOUND", "Op type not registered 'OpFromTheFuture' in binary running on")
NO_FUNCTION = Verdict("load", "INVALID_ARGUMENT", 'Failed to find function "forged_missing"')
NO_GPU = Verdict("load", "INVALID_ARGUMENT", "was explicitly assigned to /device:GPU:0 but available devices are")

# TensorFlow 2.21, on a CPU.
VERDICTS = {
    "min-consumer-from-the-future": Verdict(
        "load", "INVALID_ARGUMENT", "GraphDef min consumer version 1000000 above current version"
    ),
    "bad-consumers": Verdict("load", "INVALID_ARGUMENT", "GraphDef disallows consumer version"),
    "producer-negative": Verdict("load", "INVALID_ARGUMENT", "GraphDef producer version -1 below min producer 0"),
    "producer-zero": ANSWERS,
    "producer-huge": ANSWERS,
    "tensorflow-version-from-the-future": ANSWERS,
    "absent-tag": Verdict("load", "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve }"),
    "wrong-signature": Verdict("predict", "KIT", "the graph has no tensor 'tensor_that_is_not_there:0'"),
    "missing-signature": Verdict("predict", "KIT", "no signature 'serving_default'"),
    "unknown-op": UNKNOWN_OP,
    "unknown-op-in-function": UNKNOWN_OP,
    "unknown-op-unused": UNKNOWN_OP,
    "unknown-op-in-function-unused": UNKNOWN_OP,
    "unknown-op-in-uncalled-function": ANSWERS,
    "attribute-from-the-future-default": ANSWERS,
    "attribute-from-the-future": ANSWERS,
    "unknown-dtype": Verdict("load", "INVALID_ARGUMENT", "AttrValue has invalid DataType enum: 99"),
    "missing-function": NO_FUNCTION,
    "missing-function-unused": NO_FUNCTION,
    "missing-nested-function": Verdict("predict", "NOT_FOUND", "Function forged_missing_within is not defined"),
    "gpu-only-placement": NO_GPU,
    "gpu-only-placement-unused": NO_GPU,
    "missing-asset": Verdict("load", "NOT_FOUND", "assets/vocabulary.txt; No such file or directory"),
    "missing-asset-unread": ANSWERS,
    "absolute-asset-path": Verdict("load", "NOT_FOUND", "/home/nobody/training/vocabulary.txt; No such file"),
    "cut-pb": Verdict("load", "OUT_OF_RANGE", "Read less bytes than requested"),
    "empty-pb": Verdict("load", "NOT_FOUND", "Could not find meta graph def matching supplied tags: { serve }"),
    "garbage-pb": GARBAGE,
    "git-lfs-pointer": GARBAGE,
    "missing-variables": NO_VARIABLE,
    "missing-index": NO_VARIABLE,
    "cut-index": Verdict("load", "DATA_LOSS", "not an sstable (bad magic number)"),
    "missing-data": Verdict("load", "NOT_FOUND", "variables.data-00000-of-00001; No such file or directory"),
    "cut-data": Verdict("load", "OUT_OF_RANGE", "Read less bytes than requested"),
    "flipped-data": Verdict("load", "DATA_LOSS", "Checksum does not match"),
    "several-versions": ANSWERS,
    "non-numeric-version": NOT_THERE,
    "nested-version": NOT_THERE,
    "unversioned": NOT_THERE,
    "keras-file": NOT_THERE,
    "h5-file": NOT_THERE,
    "symbolic-link": ANSWERS,
    "dangling-link": NOT_THERE,
    "hard-link": ANSWERS,
    "hidden-macos-files": ANSWERS,
    "op-decode-webp": ANSWERS,
    "kernel-fftnd": Verdict("load", "INVALID_ARGUMENT", "No OpKernel was registered to support Op 'FFTND'"),
    "type-top-k-int64": ANSWERS,
    "attribute-gather-nd": ANSWERS,
    "drift-ctc-blank": ANSWERS,
    "drift-shuffle-rounds": ANSWERS,
}
NEED_VARIABLES = (
    *("missing-variables", "missing-index", "cut-index"),
    *("missing-data", "cut-data", "flipped-data"),
)
NEED_NONE = tuple(name for name in FORGERIES if name not in NEED_VARIABLES)
# The kit's tiny model, one with a checkpoint, and TensorFlow Serving's own of TensorFlow 1.
CASES = [
    *(("tiny", name) for name in NEED_NONE),
    *(("checkpoint", name) for name in FORGERIES),
    *(("half_plus_two", name) for name in FORGERIES),
]
INPUTS = {"tiny": [[1.0]], "checkpoint": [[2.0]], "half_plus_two": [[3.0]]}
ANSWERED = {"tiny": list(ModelSpec(name="tiny").answer([1.0]).value), "checkpoint": [5.0], "half_plus_two": [3.5]}


def write_checkpointed(directory: Path) -> None:
    """A model that answers ``w * x``, with `w` in a checkpoint; its signature ``save`` writes that, with 2.5."""
    meta_graph = protos.MetaGraphDef(graph_def=new_graph())
    meta_graph.meta_info_def.tags.append("serve")
    nodes, real = Nodes(meta_graph.graph_def.node), type_of("DT_FLOAT")
    x = nodes.add("Placeholder", name="x", dtype=real, shape=shape(None, None))
    w = nodes.add("VarHandleOp", name="w", dtype=real, shape=shape(), shared_name=b"w")
    y = nodes.add("Mul", x, nodes.add("ReadVariableOp", w, dtype=real), name="y", T=real)
    prefix = nodes.add("Placeholder", name="prefix", dtype=type_of("DT_STRING"), shape=shape())
    names, slices = (
        nodes.add("Const", dtype=type_of("DT_STRING"), value=tensor("DT_STRING", [one])) for one in (b"w", b"")
    )
    first = nodes.add("AssignVariableOp", w, nodes.constant("DT_FLOAT", 2.5), dtype=real)
    initial = nodes.add("ReadVariableOp", w, after=[first], dtype=real)
    saved = nodes.add("SaveV2", prefix, names, slices, initial, dtypes=types_of("DT_FLOAT"))
    done = nodes.add("Identity", prefix, name="saved", after=[saved], T=type_of("DT_STRING"))
    found = nodes.add("RestoreV2", prefix, names, slices, dtypes=types_of("DT_FLOAT"))
    restored = nodes.add("AssignVariableOp", w, found, dtype=real)
    meta_graph.saver_def.filename_tensor_name, meta_graph.saver_def.save_tensor_name = f"{prefix}:0", f"{done}:0"
    meta_graph.saver_def.restore_op_name = nodes.add("NoOp", name="restore_all", after=[restored])
    for signature, fed, fetched, data_type in (("serving_default", x, y, 1), ("save", prefix, done, 7)):
        described = meta_graph.signature_def[signature]
        described.method_name = "tensorflow/serving/predict"
        described.inputs[fed].name, described.inputs[fed].dtype = f"{fed}:0", data_type
        described.outputs[fetched].name, described.outputs[fetched].dtype = f"{fetched}:0", data_type
    saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(saved_model.SerializeToString(deterministic=True))


def save_variables() -> None:
    """Have TensorFlow write the checkpoint of the model in the folder that is named on standard input."""
    directory = Path(json.load(sys.stdin))
    model = SavedModel(Library(), directory)
    (directory / "variables").mkdir()
    model.run({"prefix": np.array(str(directory / "variables" / "variables"), object)}, signature="save")
    json.dump(None, sys.stdout)


def judge_all() -> None:
    """Load and ask each model, ``[folder, input]``, that is named on standard input, and print what was seen."""
    library = Library()
    json.dump([judge(library, Path(folder), x) for folder, x in json.load(sys.stdin)], sys.stdout)


def judge(library: Library, folder: Path, x: list[list[float]]) -> tuple[str, str, Any]:
    try:
        model = SavedModel(library, folder)
    except TensorFlowError as error:
        return "load", error.code, error.message
    try:
        return "answer", "", model.run({"x": np.array(x, np.float32)})["y"].ravel().tolist()
    except TensorFlowError as error:
        return "predict", error.code, error.message
    except KeyError as error:
        return "predict", "KIT", error.args[0]
    finally:
        model.close()


Apart = Callable[[Callable[[], None], Any], Any]


@pytest.fixture(scope="module")
def apart(in_process: InProcess) -> Apart:
    """Runs a function of this module in a process of its own, with the JSON of something on standard input."""

    def run(function: Callable[[], None], given: Any) -> Any:
        program = f"from {__name__} import {function.__name__} as run; run()"
        return json.loads(in_process("-c", program, stdin=json.dumps(given)))

    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, apart: Apart, foreign: ForeignModels) -> dict[str, Path]:
    """The models to forge, unpacked."""
    top = tmp_path_factory.mktemp("whole")
    write(ModelSpec(name="tiny"), top / "tiny")
    write_checkpointed(top / "checkpoint" / "1")
    apart(save_variables, str(top / "checkpoint" / "1"))
    shutil.copytree(foreign("half_plus_two"), top / "half_plus_two")
    return {path.name: path for path in top.iterdir()}


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory, apart: Apart, folders: dict[str, Path]
) -> dict[tuple[str, str], tuple[str, str, Any]]:
    """What TensorFlow did with each forgery of each model, all in one process."""
    requests = {}
    for base, name in CASES:
        folder = tmp_path_factory.mktemp("forged") / name
        shutil.copytree(folders[base], folder)
        forge(folder, name)
        requests[base, name] = (str(folder / ("2" if name == "several-versions" else "1")), INPUTS[base])
    requests |= {(base, "whole"): (str(folder / "1"), INPUTS[base]) for base, folder in folders.items()}
    return dict(zip(requests, apart(judge_all, list(requests.values())), strict=True))


@pytest.mark.parametrize(("base", "name"), CASES)
def test_tensorflow_does_with_a_forgery_what_the_verdict_says(
    seen: dict[tuple[str, str], Any], base: str, name: str
) -> None:
    comes_to, code, words = seen[base, name]
    expected = VERDICTS[name]
    assert (comes_to, code) == (expected.comes_to, expected.code)
    if expected is ANSWERS:
        assert words == ANSWERED[base]
    elif (base, expected) == ("half_plus_two", NO_VARIABLE):
        assert words.startswith("Attempting to use uninitialized value")  # variables of TensorFlow 1
    else:
        assert expected.words in words


@pytest.mark.parametrize("base", INPUTS)
def test_the_undamaged_model_predicts(seen: dict[tuple[str, str], Any], base: str) -> None:
    assert seen[base, "whole"] == ["answer", "", ANSWERED[base]]


def test_with_the_asset_in_its_place_the_model_predicts(apart: Apart, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    write(ModelSpec(name="tiny"), folder)
    forge(folder, "missing-asset")
    (folder / "1/assets").mkdir()
    (folder / "1/assets/vocabulary.txt").write_text("one\ntwo\n")
    assert apart(judge_all, [(str(folder / "1"), INPUTS["tiny"])]) == [["answer", "", ANSWERED["tiny"]]]
