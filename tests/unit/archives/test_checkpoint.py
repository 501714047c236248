"""Variables on disk, read without TensorFlow."""

from __future__ import annotations

import contextlib
import shutil
import struct
from pathlib import Path

import cramjam
import google_crc32c
import numpy as np
import pytest

from pytest_mme import Models
from pytest_mme.archives import checkpoint
from pytest_mme.archives.archive import extract
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from tests.foreign.models import ForeignModels

FOOTER_BYTES, TRAILER_BYTES = 48, 5


@pytest.fixture(params=["plain", "compressed"])
def variables(request: pytest.FixtureRequest, foreign: ForeignModels, tmp_path: Path) -> Path:
    """Those of a model that TensorFlow saved, also with a compressed index, as TensorFlow Serving's own models have it."""
    target = shutil.copytree(foreign("half_plus_two") / "1" / "variables", tmp_path / "variables")
    if request.param == "compressed":
        compress(target / "variables.index")
    return target


def compress(index: Path) -> None:
    """Compress the only block of data in an index by Snappy. TensorFlow reads that, and no public release writes it."""
    table = index.read_bytes()
    meta_at, after = protos.varint(table[-FOOTER_BYTES:], 0)
    meta_size, after = protos.varint(table[-FOOTER_BYTES:], after)
    index_at, after = protos.varint(table[-FOOTER_BYTES:], after)
    index_size, _ = protos.varint(table[-FOOTER_BYTES:], after)
    ((key, _),) = checkpoint._block(table, index_at, index_size)
    data = bytes(cramjam.snappy.compress_raw(table[: meta_at - TRAILER_BYTES]))
    meta = table[meta_at : meta_at + meta_size]
    handle = varint(0) + varint(len(data))
    entry = bytes([0, len(key), len(handle)]) + key + handle + struct.pack("<II", 0, 1)
    blocks = sealed(data, compressed=True) + sealed(meta)
    handles = [len(data) + TRAILER_BYTES, meta_size, len(blocks), len(entry)]
    footer = b"".join(map(varint, handles)).ljust(FOOTER_BYTES - 8, b"\0") + table[-8:]
    index.write_bytes(blocks + sealed(entry) + footer)


def varint(number: int) -> bytes:
    """A number below 2 ** 14, always in two bytes."""
    return bytes([number & 0x7F | 0x80, number >> 7])


def sealed(block: bytes, *, compressed: bool = False) -> bytes:
    """A block with its trailer: its type and the masked checksum of both."""
    typed = block + bytes([compressed])
    found = google_crc32c.value(typed)
    return typed + struct.pack("<I", ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_an_index_lists_its_variables(variables: Path) -> None:
    found = checkpoint.entries(variables / "variables.index")
    assert [(entry.key, entry.size, entry.data_type) for entry in found] == [
        (key, 4, "DT_FLOAT") for key in ("a", "a2", "b", "c", "c2")
    ]
    assert checkpoint.check(variables) == []


def test_tensorflow_reads_an_index_that_was_compressed_here(foreign: ForeignModels, tmp_path: Path) -> None:
    folder = shutil.copytree(foreign("half_plus_two") / "1", tmp_path / "1")
    before = (folder / "variables" / "variables.index").read_bytes()
    compress(folder / "variables" / "variables.index")
    assert (folder / "variables" / "variables.index").read_bytes() != before
    with contextlib.closing(SavedModel(Library(), folder)) as model:
        assert model.run({"x": np.array([[1]], np.float32)})["y"].tolist() == [[2.5]]


@pytest.mark.parametrize(("name", "listed"), [("basic_pitch", 74), ("guesslang", 10), ("sleepecg", 48)])
def test_variables_that_others_trained(foreign: ForeignModels, name: str, listed: int) -> None:
    folder = foreign(name) / "1" / "variables"
    assert len(checkpoint.entries(folder / "variables.index")) == listed
    assert checkpoint.check(folder) == []


def test_variables_of_another_size_and_kind(mme_models: Models, tmp_path: Path) -> None:
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
    holds = ("a", "a2", "b", "c", "c2")
    assert checkpoint.check(variables) == [f"variables.data-00000-of-… is missing, which holds {key}" for key in holds]


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
