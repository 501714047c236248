"""What the doctor finds, and what it does not."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_mme import Models
from pytest_mme.archives.archive import extract
from pytest_mme.archives.op_registry import registry
from pytest_mme.doctor import KINDS, Finding, examine
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.models.builder import Model
from pytest_mme.models.forging.forge import FORGERIES, forge
from pytest_mme.models.writing.graph import type_of
from tests.foreign.models import ForeignModels
from tests.unit.models.conftest import ROOT

FOREIGN = ("half_plus_two", "half_plus_three", "basic_pitch", "guesslang")
ALL = registry().releases
LAST = ALL[-1]

FOUND = {
    "min-consumer-from-the-future": "MME301",
    "bad-consumers": "MME301",
    "producer-negative": "MME302",
    "producer-zero": None,
    "producer-huge": None,
    "tensorflow-version-from-the-future": "MME314",
    "absent-tag": "MME202",
    "wrong-signature": "MME312",
    "missing-signature": "MME311",
    "unknown-op": "MME304",
    "unknown-op-in-function": "MME304",
    "unknown-op-unused": "MME304",
    "unknown-op-in-function-unused": "MME304",
    "unknown-op-in-uncalled-function": None,
    "attribute-from-the-future-default": None,
    "attribute-from-the-future": "MME306",
    "unknown-dtype": "MME308",
    "missing-function": "MME309",
    "missing-function-unused": "MME309",
    "missing-nested-function": "MME309",
    "gpu-only-placement": "MME310",
    "gpu-only-placement-unused": "MME310",
    "missing-asset": "MME205",
    "missing-asset-unread": "MME207",
    "absolute-asset-path": "MME206",
    "cut-pb": "MME201",
    "empty-pb": "MME202",
    "garbage-pb": "MME201",
    "git-lfs-pointer": "MME201",
    "missing-variables": "MME203",
    "missing-index": "MME203",
    "cut-index": "MME204",
    "missing-data": "MME204",
    "cut-data": "MME204",
    "flipped-data": "MME204",
    "several-versions": "MME104",
    "non-numeric-version": "MME103",
    "nested-version": "MME103",
    "unversioned": "MME103",
    "keras-file": "MME105",
    "h5-file": "MME105",
    "symbolic-link": "MME102",
    "dangling-link": "MME102",
    "hard-link": "MME102",
    "hidden-macos-files": "MME106",
    "op-decode-webp": None,
    "kernel-fftnd": "MME305",
    "type-top-k-int64": None,
    "attribute-gather-nd": None,
    "drift-ctc-blank": None,
    "drift-shuffle-rounds": None,
}
"""What each forgery is found to be; None: nothing, as the servers mind it as little."""
IN_FILES = ("missing-variables", "missing-index", "cut-index", "missing-data", "cut-data", "flipped-data")


def test_every_forgery_has_an_expected_finding() -> None:
    assert set(FOUND) == set(FORGERIES)


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


@pytest.mark.parametrize("forgery", sorted(set(FOUND) - set(IN_FILES)))
def test_a_forgery_is_found_and_nothing_else(mme_models: Models, forgery: str) -> None:
    forged = mme_models.forge(mme_models.linear(weights_mib=1), forgery)
    found = FOUND[forgery]
    assert codes(examine(forged.archive, [LAST])) == ([found] if found else [])


@pytest.mark.parametrize(("forgery", "name"), list(zip(sorted(FOUND), itertools.cycle(FOREIGN))))
def test_a_forgery_of_a_foreign_model_is_found(
    mme_models: Models, foreign: ForeignModels, forgery: str, name: str
) -> None:
    """Each forgery of one of them: all combinations would find nothing more."""
    forged = mme_models.forge(mme_models.archive(foreign(name)), forgery)
    found = FOUND[forgery]
    assert set(codes(examine(forged.archive, [LAST]))) - {"MME313"} == ({found} if found else set())


@pytest.mark.parametrize("forgery", sorted(FOUND))
def test_a_forgery_of_a_keras_model_is_found(mme_models: Models, forgery: str) -> None:
    forged = mme_models.forge(mme_models.keras(), forgery)
    found = FOUND[forgery]
    assert set(codes(examine(forged.archive, [LAST]))) == ({found} if found else set())


@pytest.mark.parametrize(
    "make",
    [
        lambda models: models.linear(weights_mib=1, busy_ms=1, sleep_ms=1, allocate_mib=1),
        lambda models: models.linear(signatures=("serving_default", "other")),
        lambda models: models.counter(),
        lambda models: models.text(),
    ],
)
def test_a_good_archive_has_no_findings_on_any_release(mme_models: Models, make: Callable[[Models], Model]) -> None:
    assert examine(make(mme_models).archive, ALL) == []


def test_a_good_keras_archive_has_no_findings_on_releases_with_its_operations(mme_models: Models) -> None:
    findings = examine(mme_models.keras().archive, ALL)
    (later,) = [finding for finding in findings if finding.severity != "info"]
    assert (later.code, later.tensorflow) == ("MME303", "2.5.3, 2.6.5, 2.7.4, 2.8.4, 2.9.3")
    assert "DisableCopyOnRead" in later.fact
    assert "it is in 2.10.1 to " in later.fact


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("half_plus_three", ["MME313", "MME314"]),  # TensorFlow 1's graphs, saved by a later one than some
        ("half_plus_two", ["MME313", "MME314"]),
        ("counter", ["MME315", "MME313", "MME314"]),
        ("basic_pitch", []),
        ("guesslang", []),
        ("sleepecg", ["MME314"]),
    ],
)
def test_a_foreign_model_has_no_error(foreign: ForeignModels, name: str, found: list[str]) -> None:
    assert codes(examine(foreign(name), ALL)) == found


# What really changed between releases


@pytest.mark.parametrize(
    ("mismatch", "version", "found"),
    [
        ("op-decode-webp", "2.19.1", "MME303"),
        ("kernel-fftnd", "2.14.1", "MME303"),
        ("type-top-k-int64", "2.12.1", "MME306"),
        ("attribute-gather-nd", "2.16.2", "MME306"),
        ("drift-ctc-blank", "2.5.3", "MME306"),
        ("drift-shuffle-rounds", "2.10.1", "MME306"),
        ("drift-shuffle-rounds", "2.8.4", "MME303"),
    ],
)
def test_a_real_mismatch_is_found_on_the_release_that_has_it(
    mme_models: Models, mismatch: str, version: str, found: str
) -> None:
    (finding, *more) = examine(mme_models.forge(mme_models.linear(), mismatch).archive, [version])
    assert (finding.code, finding.tensorflow) == (found, version)
    assert {one.code for one in more} <= {found}


@pytest.fixture
def changed(mme_models: Models, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Examines a model with one more operation, for a release."""

    def examine_with(version: str, op: str, **attributes: object) -> list[Finding]:
        folder = tmp_path / "model"
        extract(mme_models.linear().archive, folder)
        path = folder / "1" / "saved_model.pb"
        saved = protos.SavedModel.FromString(path.read_bytes())
        graph = saved.meta_graphs[0].graph_def
        node = graph.node.add(name="added", op=op)
        for other in graph.node[:-1]:
            other.input.append("^added")
        for name, value in attributes.items():
            node.attr[name].CopyFrom(value)
        path.write_bytes(saved.SerializeToString())
        return [finding for finding in examine(folder, [version]) if finding.severity != "info"]

    return examine_with


def test_an_op_of_a_later_release_is_found(changed: Callable[..., list[Finding]]) -> None:
    (later,) = changed("2.18.1", "DecodeWebP")
    assert (later.code, later.tensorflow) == ("MME303", "2.18.1")


def test_an_op_that_the_release_has_is_not_found(changed: Callable[..., list[Finding]]) -> None:
    assert changed("2.20.0", "DecodeWebP") == []


def test_an_op_without_a_kernel_is_found(changed: Callable[..., list[Finding]]) -> None:
    (without,) = changed("2.15.1", "FFTND")
    assert without.code == "MME305"


def test_a_later_attribute_with_another_value_than_its_default_is_found(
    changed: Callable[..., list[Finding]],
) -> None:
    policy = protos.AttrValue(s=b"IGNORE")
    types = {"Tparams": type_of("DT_FLOAT"), "Tindices": type_of("DT_INT32")}
    (drift,) = changed("2.15.1", "GatherNd", bad_indices_policy=policy, **types)
    assert (drift.code, drift.severity) == ("MME306", "warning")
    assert "known since 2.17" in drift.fact


def test_a_later_attribute_with_its_default_is_not_found(changed: Callable[..., list[Finding]]) -> None:
    types = {"Tparams": type_of("DT_FLOAT"), "Tindices": type_of("DT_INT32")}
    assert changed("2.15.1", "GatherNd", bad_indices_policy=protos.AttrValue(s=b""), **types) == []


@pytest.mark.parametrize(("version", "found"), [("2.8.4", ["MME307"]), ("2.9.3", [])])
def test_a_type_of_a_later_release_is_found(
    changed: Callable[..., list[Finding]], version: str, found: list[str]
) -> None:
    types = {"Tparams": type_of("DT_FLOAT"), "Tindices": type_of("DT_INT16")}
    assert codes(changed(version, "GatherNd", **types)) == found


def test_a_graph_in_the_text_format_is_read(mme_models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    extract(mme_models.forge(mme_models.linear(), "unknown-op").archive, folder)
    binary, text = (folder / "1" / name for name in ("saved_model.pb", "saved_model.pbtxt"))
    text.write_text(str(protos.SavedModel.FromString(binary.read_bytes())))
    binary.unlink()
    assert codes(examine(folder, [LAST])) == ["MME304"]
    text.write_text("this is no graph")
    assert codes(examine(folder, [LAST])) == ["MME201"]


def test_an_input_that_no_request_can_hold_is_found(mme_models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    extract(mme_models.linear().archive, folder)
    path = folder / "1" / "saved_model.pb"
    saved = protos.SavedModel.FromString(path.read_bytes())
    shape = saved.meta_graphs[0].signature_def["serving_default"].inputs["x"].tensor_shape
    shape.dim[1].size = 3_145_728
    path.write_bytes(saved.SerializeToString())
    assert examine(folder, [LAST]) == []
    shape.dim[1].size += 1
    path.write_bytes(saved.SerializeToString())
    (finding,) = examine(folder, [LAST])
    assert (finding.code, finding.fact) == ("MME316", "serving_default: x, 3145729 numbers at the least")


def test_a_large_archive_is_found(mme_models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    extract(mme_models.linear().archive, folder)
    with (folder / "1" / "weights").open("wb") as weights:
        weights.truncate(1 << 30)
    assert codes(examine(folder, [LAST])) == ["MME107"]


# Code


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import tensorflow as tf", ["MME403"]),
        ("from tensorflow import keras", ["MME403"]),
        ("from keras.layers import Dense", ["MME403"]),
        ("def f():\n    import tensorflow", []),
        ("import json, os\nLIMITS = {'a': 1}", []),
        ("cache = {}\ndef f():\n    cache[1] = 2", ["MME404"]),
        ("seen = list()\ndef f():\n    seen.append(1)", ["MME404"]),
        ("seen: set = set()\ndef f():\n    seen.add(1)", ["MME404"]),
        ("LATEST = {}\ndef f():\n    del LATEST['a']", ["MME404"]),
        ("class State: pass\nstate = State()\ndef f():\n    state.count = 1", ["MME404"]),
        ("labels = ['a', 'b']\ndef f():\n    return labels[0], labels.index('a')", []),
        ("seen = []\nseen.append(1)\ndef f():\n    own = []\n    own.append(1)", []),
        (r"pattern = '\d'", []),
        ("count = 0\ndef f():\n    global count\n    count += 1", ["MME404"]),
        ("def handler(:", ["MME402"]),
    ],
)
def test_problems_of_inference_py_are_found(mme_models: Models, code: str, found: list[str]) -> None:
    model = mme_models.linear(handler=code + "\ndef handler(data, context):\n    pass\n")
    assert codes(examine(model.archive, [LAST])) == found


def test_requirements_that_are_never_installed_are_found(mme_models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    extract(mme_models.linear(handler="def handler(data, context): pass").archive, folder)
    (folder / "code" / "requirements.txt").write_text("# nothing\n\n")
    assert examine(folder, [LAST]) == []
    (folder / "code" / "requirements.txt").write_text("# pinned\npandas==2.2  # for dates\n")
    (finding,) = examine(folder, [LAST])
    assert (finding.code, finding.fact) == ("MME401", "pandas==2.2")


# Archives that are none


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00"])
def test_a_file_that_is_not_an_archive_is_found(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(content)
    assert codes(examine(path, [LAST])) == ["MME101"]


def test_an_archive_that_is_cut_is_found(mme_models: Models, tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    whole = mme_models.linear().archive.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert codes(examine(path, [LAST])) == ["MME101"]


def test_an_empty_archive_has_no_version(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    (finding,) = examine(path, [LAST])
    assert (finding.code, finding.fact) == ("MME103", "there is nothing")


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="nothing of that name"):
        examine(tmp_path / "absent", [LAST])


def test_an_unknown_release_is_an_error(mme_models: Models) -> None:
    with pytest.raises(ValueError, match=r"nothing is known of TensorFlow 9\.1\.0"):
        examine(mme_models.linear().archive, ["9.1.0"])


# The list itself


def test_codes_are_unique_and_every_kind_is_complete() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert all((kind.title, kind.why, kind.advice, kind.source))


def test_the_documentation_lists_every_kind() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text()
    for kind in KINDS:
        row = (f"`{kind.code}`", kind.severity, kind.title, kind.why, kind.advice)
        assert f"| {' | '.join(row)} |" in page, f"put this into docs/doctor.md: | {' | '.join(row)} |"


def test_a_folder_has_the_same_errors_as_its_archive(mme_models: Models, tmp_path: Path) -> None:
    for forgery in ("absent-tag", "unversioned", "unknown-op"):
        folder = tmp_path / forgery
        extract(mme_models.linear().archive, folder)
        forge(folder, forgery)
        archive = mme_models.forge(mme_models.linear(), forgery).archive
        assert codes(examine(folder, [LAST])) == codes(examine(archive, [LAST]))
