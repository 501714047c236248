"""Variables on disk, read without TensorFlow."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from pytest_mme import Models
from pytest_mme.archives import checkpoint
from pytest_mme.archives.archive import extract
from tests.unit.models.conftest import ROOT

SHARED = ROOT.parent / "shared" / "saved_models"


@pytest.fixture
def variables(tmp_path: Path) -> Path:
    """Those of a model of TensorFlow Serving's, whose index is compressed."""
    target = tmp_path / "variables"
    shutil.copytree(SHARED / "saved_model_half_plus_two_cpu" / "00000123" / "variables", target)
    for path in (target, *target.iterdir()):
        path.chmod(0o755)
    return target


def test_an_index_lists_its_variables(variables: Path) -> None:
    found = checkpoint.entries(variables / "variables.index")
    assert [(entry.key, entry.size, entry.data_type) for entry in found] == [
        (key, 4, "DT_FLOAT") for key in ("a", "a2", "b", "c", "c2")
    ]
    assert checkpoint.check(variables) == []


def test_an_index_lists_variables_of_every_size_and_kind(mme_models: Models, tmp_path: Path) -> None:
    extract(mme_models.keras(weights_mib=3).archive, tmp_path / "model")
    folder = tmp_path / "model" / "1" / "variables"
    found = checkpoint.entries(folder / "variables.index")
    assert max(entry.size for entry in found) == 3 << 20
    assert "DT_STRING" in {entry.data_type for entry in found}
    assert checkpoint.check(folder) == []


@pytest.mark.parametrize("at", [0, 7, 15])
def test_any_changed_byte_of_the_data_is_detected(variables: Path, at: int) -> None:
    (data,) = variables.glob("variables.data-*")
    content = bytearray(data.read_bytes())
    content[at] ^= 1
    data.write_bytes(content)
    (wrong,) = checkpoint.check(variables)
    assert "the checksum of" in wrong


def test_data_that_are_cut_or_missing_are_detected(variables: Path) -> None:
    (data,) = variables.glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:-1])
    (wrong,) = checkpoint.check(variables)
    assert wrong.startswith(f"{data.name} is cut: c2 ends at byte 20 of it")
    data.unlink()
    assert all("is missing, which holds" in one for one in checkpoint.check(variables))


@pytest.mark.parametrize("keep", [0, 10, 47, 48, -1])
def test_an_index_that_is_cut_is_damaged(variables: Path, keep: int) -> None:
    index = variables / "variables.index"
    index.write_bytes(index.read_bytes()[:keep])
    with pytest.raises(checkpoint.DamagedError, match="is cut or damaged"):
        checkpoint.entries(index)


@pytest.mark.parametrize("at", range(0, 60, 4))
def test_an_index_with_other_bytes_in_it_is_read_or_refused(variables: Path, at: int) -> None:
    index = variables / "variables.index"
    content = bytearray(index.read_bytes())
    content[at] ^= 0xFF
    index.write_bytes(content)
    with contextlib.suppress(checkpoint.DamagedError):
        checkpoint.check(variables)
