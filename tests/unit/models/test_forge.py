"""What each forgery changes, and what it leaves as it was."""

from __future__ import annotations

import functools
import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_mme.archives.archive import extract, versions
from pytest_mme.archives.store import Store
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.forging.forge import FORGER, FORGERIES, forge
from pytest_mme.models.spec import ModelSpec
from pytest_mme.models.writing.saved_model import write
from tests.unit.models.conftest import ROOT
from tests.unit.models.test_forge_verdicts import ANSWERS, NEED_NONE, NEED_VARIABLES, VERDICTS, write_checkpointed

PAGE = ROOT / "docs" / "forging.md"


def test_every_forgery_has_a_verdict_and_a_row_in_the_page() -> None:
    assert list(VERDICTS) == list(FORGERIES)
    rows = [f"| `{forgery.name}` | {forgery.about} |" for forgery in FORGERIES.values()]
    assert [row for row in rows if row not in PAGE.read_text().splitlines()] == []


def tree(folder: Path) -> dict[str, Any]:
    """Return the contents of each file below *folder*, and the target of each link."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in paths
    }


def meta_graph_of(version: Path) -> Any:
    (meta_graph,) = protos.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
    return meta_graph


Forged = Callable[..., Path]


@pytest.fixture
def forged(tmp_path: Path) -> Forged:
    """Return the folder of a tiny model after these forgeries."""

    def make(*names: str) -> Path:
        write(ModelSpec(name="tiny"), tmp_path / "forged")
        for name in names:
            forge(tmp_path / "forged", name)
        return tmp_path / "forged"

    return make


@pytest.mark.parametrize(("name", "producer"), [("producer-zero", 0), ("producer-huge", 2**31 - 1)])
def test_the_producer_is_changed(forged: Forged, name: str, producer: int) -> None:
    assert meta_graph_of(forged(name) / "1").graph_def.versions.producer == producer


def test_the_declared_version_is_changed(forged: Forged) -> None:
    declared = meta_graph_of(forged("tensorflow-version-from-the-future") / "1").meta_info_def
    assert (declared.tensorflow_version, declared.tensorflow_git_version) == ("99.0.0", "v99.0.0")


@pytest.mark.parametrize(
    ("name", "value"), [("attribute-from-the-future", True), ("attribute-from-the-future-default", False)]
)
def test_the_new_attribute_is_declared_with_its_default(forged: Forged, name: str, value: bool) -> None:
    meta_graph = meta_graph_of(forged(name) / "1")
    (node,) = (node for node in meta_graph.graph_def.node if "attribute_from_the_future" in node.attr)
    assert node.attr["attribute_from_the_future"].b is value
    assert [f"^{node.name}" in answer.input for answer in meta_graph.graph_def.node if answer.name.endswith("_y")] == [
        True
    ]
    (described,) = meta_graph.meta_info_def.stripped_op_list.op
    (attribute,) = described.attr
    assert (described.name, attribute.name) == (node.op, "attribute_from_the_future")
    assert attribute.HasField("default_value")
    assert attribute.default_value.b is False


def test_both_forged_attributes_can_be_declared_together(forged: Forged) -> None:
    both = forged("attribute-from-the-future", "attribute-from-the-future-default")
    (described,) = meta_graph_of(both / "1").meta_info_def.stripped_op_list.op
    assert described.name == "NoOp"


LAYOUTS = {
    "several-versions": ["1/saved_model.pb", "2/saved_model.pb"],
    "non-numeric-version": ["v1/saved_model.pb"],
    "nested-version": ["model/1/saved_model.pb"],
    "unversioned": ["saved_model.pb"],
    "keras-file": ["1/model.keras"],
    "h5-file": ["1/model.h5"],
    "symbolic-link": ["1/saved_model.pb", "blobs/saved_model-1.pb"],
    "dangling-link": ["1/saved_model.pb"],
    "hard-link": ["1/saved_model.pb", "blobs/saved_model-1.pb"],
    "hidden-macos-files": [
        *(".DS_Store", "._1", "1/.DS_Store", "1/._saved_model.pb", "1/saved_model.pb"),
        "__MACOSX/1/._saved_model.pb",
    ],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_are_where_the_forgery_puts_them(forged: Forged, name: str) -> None:
    assert list(tree(forged(name))) == LAYOUTS[name]


@pytest.mark.parametrize("name", ["non-numeric-version", "nested-version", "unversioned", "keras-file", "h5-file"])
def test_the_kit_finds_no_version_in_a_forged_layout(forged: Forged, name: str) -> None:
    with pytest.raises(ArchiveError, match="holds no version of a model"):
        versions(forged(name))


def test_several_versions_repeats_the_highest(models: Models, tmp_path: Path) -> None:
    extract(models.linear(versions=(1, 3)).archive, tmp_path / "m")
    forge(tmp_path / "m", "several-versions")
    assert [number for number, _ in versions(tmp_path / "m")] == [1, 3, 4]
    assert tree(tmp_path / "m/4") == tree(tmp_path / "m/3")


def test_only_the_highest_version_is_packed_unversioned(models: Models, tmp_path: Path) -> None:
    extract(models.linear(versions=(1, 3)).archive, tmp_path / "m")
    highest = tree(tmp_path / "m/3")
    forge(tmp_path / "m", "unversioned")
    assert tree(tmp_path / "m") == highest


def test_every_version_is_forged(models: Models, tmp_path: Path) -> None:
    extract(models.linear(versions=(1, 3)).archive, tmp_path / "m")
    forge(tmp_path / "m", "missing-signature")
    assert [list(meta_graph_of(path).signature_def) for _, path in versions(tmp_path / "m")] == [[], []]


def test_every_signature_waits_for_what_was_added(models: Models, tmp_path: Path) -> None:
    extract(models.linear(signatures=("serving_default", "other")).archive, tmp_path / "m")
    forge(tmp_path / "m", "unknown-op")
    nodes = meta_graph_of(tmp_path / "m/1").graph_def.node
    waiting = {node.name for node in nodes if "^forged_unknown_op" in node.input}
    assert waiting == {f"{name}_{output}" for name in ("serving_default", "other") for output in ("y", "identity")}


def test_the_models_own_initialiser_is_kept(tmp_path: Path) -> None:
    write(ModelSpec(name="m", kind="counter"), tmp_path / "m")
    forge(tmp_path / "m", "missing-asset")
    meta_graph = meta_graph_of(tmp_path / "m/1")
    assert meta_graph.collection_def["saved_model_main_op"].node_list.value == ["initialise"]
    (initialise,) = (node for node in meta_graph.graph_def.node if node.name == "initialise")
    assert list(initialise.input) == ["^AssignVariableOp", "^forged_asset_InitializeTableFromTextFileV2"]


def test_a_signature_of_the_loader_is_not_forged(forged: Forged) -> None:
    folder = forged()
    path = folder / "1/saved_model.pb"
    saved_model = protos.SavedModel.FromString(path.read_bytes())
    (meta_graph,) = saved_model.meta_graphs
    meta_graph.graph_def.node.add(op="NoOp", name="first")
    meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "first"
    path.write_bytes(saved_model.SerializeToString())
    for name in ("missing-asset", "missing-signature"):
        forge(folder, name)
    meta_graph = meta_graph_of(folder / "1")
    assert list(meta_graph.signature_def) == ["__saved_model_init_op"]
    (first,) = (node for node in meta_graph.graph_def.node if node.name == "first")
    assert list(first.input) == ["^forged_asset_InitializeTableFromTextFileV2"]


@pytest.mark.parametrize("name", NEED_VARIABLES)
def test_a_model_without_variables_is_refused(forged: Forged, name: str) -> None:
    with pytest.raises(ArchiveError, match=r"no variables to forge(.|\n)*use a model with a checkpoint, such as"):
        forged(name)


@pytest.mark.parametrize("name", ["unknown-op", "unknown-op-in-function", "wrong-signature", "gpu-only-placement"])
def test_a_model_without_signature_is_refused(forged: Forged, name: str) -> None:
    with pytest.raises(ArchiveError, match="use a model with a signature"):
        forged("missing-signature", name)


@pytest.mark.parametrize("name", ["unknown-op", "cut-pb", "hard-link"])
def test_a_graph_in_text_form_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1/saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    with pytest.raises(ArchiveError, match=r"version 1 holds a saved_model\.pbtxt"):
        forge(tmp_path, name)


def test_a_damaged_graph_is_refused(forged: Forged) -> None:
    with pytest.raises(ArchiveError, match="the model's graph cannot be read"):
        forged("garbage-pb", "unknown-op")


@pytest.mark.parametrize("name", NEED_NONE)
def test_a_folder_without_a_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="holds no version of a model"):
        forge(tmp_path, name)


def test_an_unknown_forgery_is_refused_with_the_names_of_all(models: Models, tmp_path: Path) -> None:
    model = models.linear()
    for attempt in (functools.partial(forge, tmp_path), functools.partial(models.forge, model)):
        with pytest.raises(ValueError, match=r"forgery: seen 'cut'; allowed: min-consumer.*, cut-pb, .*hidden-macos"):
            attempt("cut")


def test_a_forged_model_has_a_name_and_an_archive_of_its_own(models: Models) -> None:
    whole = models.linear("m")
    content = whole.archive.read_bytes()
    forgeries = [models.forge(whole, name) for name in NEED_NONE]
    assert [model.name for model in forgeries] == [f"m-{name}" for name in NEED_NONE]
    assert len({content, *(model.archive.read_bytes() for model in forgeries)}) == len(NEED_NONE) + 1
    assert whole.archive.read_bytes() == content
    assert models.forge(whole, "unknown-op", "mine").key == "mine.tar.gz"


def test_a_changed_forgery_needs_a_new_forger_number(tmp_path: Path) -> None:
    made = hashlib.sha256()
    for name in NEED_NONE:
        write_checkpointed(tmp_path / name / "1")
        forge(tmp_path / name, name)
        made.update(repr(tree(tmp_path / name)).encode())
    assert (FORGER, made.hexdigest()[:16]) == (3, "b5555700564f578d"), (
        "what is forged has changed: raise forge.FORGER, or caches keep serving the old forgeries"
    )


def test_equal_forgeries_share_an_archive_and_are_equal_everywhere(models: Models, tmp_path: Path) -> None:
    whole = models.linear("m")
    first = models.forge(whole, "keras-file")
    (tmp_path / "copy.tar.gz").write_bytes(whole.archive.read_bytes())
    assert models.forge(models.archive(tmp_path / "copy.tar.gz"), "keras-file").archive == first.archive
    elsewhere = Models(Store(tmp_path / "elsewhere")).forge(whole, "keras-file")
    assert elsewhere.archive.read_bytes() == first.archive.read_bytes()


def test_a_forgery_that_keeps_predictions_keeps_the_expected_ones(models: Models) -> None:
    whole = models.linear("m")
    known = [name for name in NEED_NONE if models.forge(whole, name).spec == whole.spec]
    on_a_gpu = {"gpu-only-placement", "gpu-only-placement-unused"}
    costs_twice = {"several-versions"}
    assert set(known) == {name for name in NEED_NONE if VERDICTS[name] is ANSWERS} - costs_twice | on_a_gpu
    assert models.forge(whole, "producer-zero").answer([1.0]) == whole.answer([1.0])


def test_a_refused_forgery_leaves_nothing_in_the_store(models: Models, store: Store) -> None:
    whole = models.linear()
    with pytest.raises(ArchiveError, match="no variables"):
        models.forge(whole, "cut-data")
    assert [path.name for path in store.directory.iterdir() if path.name != "locks"] == [whole.archive.name]


def member(model: Model, name: str) -> tarfile.TarInfo:
    with tarfile.open(model.archive) as tar:
        return tar.getmember(name)


def test_links_are_packed_as_links_and_refused_by_the_kit(models: Models, tmp_path: Path) -> None:
    whole = models.linear("m")
    symbolic, dangling, hard = (models.forge(whole, name) for name in ("symbolic-link", "dangling-link", "hard-link"))
    assert member(symbolic, "1/saved_model.pb").linkname == "../blobs/saved_model-1.pb"
    assert member(dangling, "1/saved_model.pb").linkname == "/home/nobody/.cache/models/1/saved_model.pb"
    assert member(hard, "blobs/saved_model-1.pb").linkname == "1/saved_model.pb"
    for model, kind in ((symbolic, "a symbolic link"), (dangling, "a symbolic link"), (hard, "a hard link")):
        with pytest.raises(ArchiveError, match=f"which is {kind}"):
            extract(model.archive, tmp_path / "target")


@pytest.mark.parametrize("name", [name for name in NEED_NONE if not name.endswith("-link")])
def test_an_archive_without_links_is_unpacked_as_it_was_forged(
    models: Models, forged: Forged, tmp_path: Path, name: str
) -> None:
    extract(models.forge(models.linear("tiny"), name).archive, tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == tree(forged(name))
