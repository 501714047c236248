"""The parts of the multi-model-server image's handler that need neither that server nor TensorFlow's Python package."""

from __future__ import annotations

import fcntl
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_mme import ModelSpec
from pytest_mme.errors import ArchiveError
from pytest_mme.images.mms import handler
from pytest_mme.libtensorflow import protos
from pytest_mme.models.writing.saved_model import write
from pytest_mme.serving.memory import cgroups

MIB = 1 << 20


class Cgroup:
    """A container's memory, as far as the handler looks at it."""

    def __init__(self, limit_mib: int | None, used_mib: int = 0) -> None:
        self.limit_mib, self.used_mib = limit_mib, used_mib

    def limit_bytes(self) -> int | None:
        return None if self.limit_mib is None else self.limit_mib * MIB

    def used_bytes(self) -> int:
        return self.used_mib * MIB


class Model:
    """A model of the kit, computed here."""

    def __init__(self, spec: ModelSpec, directory: Path) -> None:
        self.spec, self.signatures = spec, handler.signatures(directory)

    def run(self, inputs: Mapping[str, Any], *, signature: str) -> dict[str, Any]:
        answers = [self.spec.answer(x.tolist(), signature=signature) for x in inputs["x"]]
        identities = np.array([answer.identity.encode() for answer in answers], object)
        return {"identity": identities, "y": np.array([answer.value for answer in answers], np.float32)}


class Context:
    """What multi-model-server hands over with each call."""

    def __init__(self, directory: Path) -> None:
        self.system_properties = {"model_dir": str(directory)}
        self.content_types: dict[int, str] = {}
        self.statuses: dict[int, tuple[int, str]] = {}

    def set_response_status(self, code: int, phrase: str, number: int) -> None:
        self.statuses[number] = (code, phrase)

    def set_response_content_type(self, number: int, content_type: str) -> None:
        self.content_types[number] = content_type


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(name="m", versions=(2, 10), signatures=("serving_default", "twice"))


@pytest.fixture
def folder(tmp_path: Path, spec: ModelSpec) -> Path:
    """An unpacked archive."""
    write(spec, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: ModelSpec) -> list[Path]:
    """What the handler loads, in a container without a limit."""
    folders: list[Path] = []

    def load(directory: Path, op_libraries: list[Path]) -> Model:
        assert op_libraries == []
        folders.append(directory)
        return Model(spec, directory)

    monkeypatch.setattr(handler, "Model", load)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_container(monkeypatch, Cgroup(None))
    return folders


def in_container(monkeypatch: pytest.MonkeyPatch, cgroup: Cgroup) -> None:
    monkeypatch.setattr(cgroups, "own", lambda: cgroup)


def test_a_load_needs_the_memory_of_tensorflow_and_the_model(tmp_path: Path) -> None:
    write(ModelSpec(name="small"), tmp_path / "small")
    write(ModelSpec(name="large", weights_mib=100), tmp_path / "large")
    named = {handler.IMPORT_MIB: "70", handler.HEADROOM_MIB: "7"}
    small, large = (handler.needed_bytes(tmp_path / name, named) for name in ("small", "large"))
    assert 77 * MIB <= small < 78 * MIB
    assert large - small == pytest.approx(105 * MIB, abs=MIB)
    assert handler.needed_bytes(tmp_path / "small", {}) - small == (232 - 77) * MIB


def test_a_model_that_fits_exactly_is_loaded() -> None:
    handler.check_room(30 * MIB, 100 * MIB, 70 * MIB)
    with pytest.raises(MemoryError, match="the load needs 31 MiB; 70 of 100 MiB are in use"):
        handler.check_room(31 * MIB, 100 * MIB, 70 * MIB)


def test_the_highest_version_is_loaded_once(loaded: list[Path], folder: Path) -> None:
    service, context = handler.Service(), Context(folder)
    assert service.handle(None, context) is None
    assert service.handle(None, context) is None
    assert loaded == [folder / "10"]


def test_a_model_that_does_not_fit_is_not_loaded_and_the_log_says_why(
    loaded: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_container(monkeypatch, Cgroup(500, used_mib=400))
    service, context = handler.Service(), Context(folder)
    with caplog.at_level(logging.WARNING), pytest.raises(MemoryError):
        service.handle(None, context)
    assert loaded == []
    assert "not loaded: the load needs 232 MiB; 400 of 500 MiB are in use" in caplog.text
    in_container(monkeypatch, Cgroup(500, used_mib=100))
    service.handle(None, context)
    assert loaded == [folder / "10"]


@pytest.mark.parametrize(("limit_mib", "alone"), [(1000, True), (None, False)])
@pytest.mark.usefixtures("loaded")
def test_two_loads_do_not_count_the_same_free_memory(
    folder: Path, tmp_path: Path, limit_mib: int | None, alone: bool
) -> None:
    with handler.room(folder, Cgroup(limit_mib)):  # type: ignore[arg-type]
        assert taken(tmp_path / "pytest-mme-load.lock") == alone
    assert not taken(tmp_path / "pytest-mme-load.lock")


def taken(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_without_a_visible_cgroup_there_is_no_limit(
    loaded: list[Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own() -> None:
        raise OSError("no memory cgroup")

    monkeypatch.setattr(cgroups, "own", own)
    handler.Service().handle(None, Context(folder))
    assert loaded


def test_a_folder_without_a_version_is_refused(loaded: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="holds no version"):
        handler.Service().handle(None, Context(tmp_path))
    assert loaded == []


def ask(folder: Path, *bodies: Any) -> tuple[list[Any], Context]:
    context = Context(folder)
    answers = handler.Service().handle([{"body": bytearray(json.dumps(body).encode())} for body in bodies], context)
    return [json.loads(answer) for answer in answers or ()], context


@pytest.mark.usefixtures("loaded")
def test_rows_and_columns_get_tensorflow_servings_replies(folder: Path, spec: ModelSpec) -> None:
    (rows, columns, bare), context = ask(
        folder,
        {"instances": [{"x": [1.0]}, {"x": [2.5]}], "signature_name": "twice"},
        {"inputs": {"x": [[1.0], [2.5]]}},
        {"inputs": [[1.0]]},
    )
    first, second = (spec.answer([x]) for x in (1.0, 2.5))
    assert rows == {"predictions": [spec.answer([1.0], signature="twice"), spec.answer([2.5], signature="twice")]}
    assert columns["outputs"]["identity"] == [first.identity, second.identity]
    assert columns["outputs"]["y"] == [pytest.approx(first.value), pytest.approx(second.value)]
    assert bare["outputs"]["identity"] == [first.identity]
    assert context.content_types == dict.fromkeys(range(3), "application/json")


@pytest.mark.usefixtures("loaded")
def test_an_invalid_body_gets_a_reply_of_its_own(folder: Path, spec: ModelSpec) -> None:
    (good, bad), context = ask(folder, {"instances": [[1.0]]}, {"instances": [["text"]]})
    assert good == {"predictions": [spec.answer([1.0])]}
    assert "is not of expected type: float" in bad["error"]
    assert context.statuses == {1: (400, "INVALID_ARGUMENT")}


def test_signatures_are_those_of_the_graph_for_serving(folder: Path) -> None:
    found = handler.signatures(folder / "2")
    assert sorted(found) == ["serving_default", "twice"]
    assert list(found["twice"].outputs) == ["identity", "y"]
    other = protos.SavedModel(meta_graphs=[protos.MetaGraphDef(meta_info_def={"tags": ["train"]})])
    (folder / "2" / "saved_model.pb").write_bytes(other.SerializeToString())
    with pytest.raises(ValueError, match=r"no graph in .* has the tag 'serve'"):
        handler.signatures(folder / "2")


def test_tensors_have_the_types_of_the_signature(folder: Path) -> None:
    asked: dict[str, Any] = {}

    def function(**tensors: Any) -> dict[str, Any]:
        asked.update(tensors)
        return {name: SimpleNamespace(numpy=lambda name=name: name) for name in ("y", "identity")}

    model = object.__new__(handler.Model)
    model.signatures = handler.signatures(folder / "2")
    model._tf = SimpleNamespace(as_dtype=lambda number: f"dtype {number}", constant=lambda *given: given)
    model._loaded = SimpleNamespace(signatures={"twice": function})
    sent = np.array([[1.0]], np.float32)
    answered: Mapping[str, Any] = model.run({"x": sent}, signature="twice")
    assert [*answered.items()] == [("identity", "identity"), ("y", "y")]
    assert asked == {"x": (sent, "dtype 1")}
