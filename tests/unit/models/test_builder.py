"""The builder: names, sharing, and models of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_mme.archives.archive import extract, pack, versions
from pytest_mme.archives.store import Store
from pytest_mme.errors import ArchiveError, UnknownAnswerError
from pytest_mme.models.builder import Model, Models
from pytest_mme.models.spec import ModelSpec
from pytest_mme.models.writing.saved_model import write
from tests.unit.models.conftest import Run, ask


def test_a_fleet_is_numbered_and_each_has_its_own_archive(models: Models) -> None:
    fleet = models.fleet(3, weights_mib=1)
    assert [model.name for model in fleet] == ["model-0", "model-1", "model-2"]
    assert [model.key for model in fleet] == ["model-0.tar.gz", "model-1.tar.gz", "model-2.tar.gz"]
    assert len({model.archive.read_bytes() for model in fleet}) == 3
    assert models.fleet(0) == []


def test_equal_specifications_share_an_archive(models: Models, store: Store) -> None:
    first = models.linear(weights_mib=1)
    assert models.linear(weights_mib=1) == first
    assert Models(store).build(ModelSpec(name="model", weights_mib=1)).archive == first.archive
    assert models.linear(weights_mib=2).archive != first.archive


def test_an_archive_contains_every_version(models: Models, tmp_path: Path) -> None:
    extract(models.linear(versions=(1, 12)).archive, tmp_path / "out")
    assert [number for number, _ in versions(tmp_path / "out")] == [1, 12]


def test_a_wrong_specification_fails_where_it_is_written(models: Models) -> None:
    with pytest.raises(ValueError, match="weights_mib=-1: give a whole number, 0 to"):
        models.linear(weights_mib=-1)
    with pytest.raises(TypeError, match="weight_mib"):
        models.linear(weight_mib=1)  # type: ignore[call-arg]


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A SavedModel's folder, as a user has it."""
    write(ModelSpec(name="theirs"), tmp_path / "exported")
    return tmp_path / "exported" / "1"


def test_a_saved_model_folder_becomes_version_1(models: Models, saved_model: Path, run_model: Run) -> None:
    model = models.archive(saved_model, "mine")
    assert model.key == "mine.tar.gz"
    (call,) = run_model(model, calls=[ask([1.0])])["calls"]
    assert call["predictions"] == [ModelSpec(name="theirs").answer([1.0])]


def test_a_folder_of_versions_is_packed_unchanged(models: Models, saved_model: Path, tmp_path: Path) -> None:
    saved_model.rename(saved_model.parent / "42")
    model = models.archive(saved_model.parent)
    assert model.name == "exported"
    extract(model.archive, tmp_path / "out")
    assert [number for number, _ in versions(tmp_path / "out")] == [42]


def test_a_changed_folder_gives_another_archive(models: Models, saved_model: Path) -> None:
    before = models.archive(saved_model)
    assert models.archive(saved_model) == before
    (saved_model / "saved_model.pb").write_bytes(b"changed")
    assert models.archive(saved_model).archive != before.archive
    assert before.archive.exists()


def test_an_archive_is_used_unchanged(models: Models, saved_model: Path, tmp_path: Path) -> None:
    pack(saved_model, tmp_path / "theirs.tar.gz")
    model = models.archive(str(tmp_path / "theirs.tar.gz"))
    assert model == Model(name="theirs", archive=tmp_path / "theirs.tar.gz")


def test_the_expected_prediction_of_a_users_model_is_unknown(models: Models, saved_model: Path) -> None:
    model = models.archive(saved_model, "mine")
    with pytest.raises(UnknownAnswerError, match="does not know what 'mine' is expected to predict") as caught:
        model.answer([1.0])
    assert (caught.value.model, caught.value.archive) == ("mine", str(model.archive))


@pytest.mark.parametrize(
    ("name", "seen"),
    [("none", "nothing of that name"), ("model.h5", "another kind of file"), ("empty", "nothing at all")],
)
def test_a_path_that_is_not_a_model_is_refused(models: Models, tmp_path: Path, name: str, seen: str) -> None:
    (tmp_path / "model.h5").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match=seen):
        models.archive(tmp_path / name)


def test_a_name_that_no_endpoint_allows_is_refused(models: Models, tmp_path: Path) -> None:
    (tmp_path / "my model.tar.gz").touch()
    with pytest.raises(ValueError, match="name='my model': give"):
        models.archive(tmp_path / "my model.tar.gz")
