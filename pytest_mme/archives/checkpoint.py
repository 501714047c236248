"""Reads a SavedModel's variables without TensorFlow: their index, and whether the data match it.

Source: `tensorflow/core/util/tensor_bundle/` (the index is a LevelDB table of `BundleEntryProto`;
checksums are masked CRC32C) and LevelDB's `doc/table_format.md`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_mme.extras import needs
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.protos import varint

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER_BYTES = 48
_SNAPPY = 1
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One variable, or a slice of one."""

    key: str
    size: int
    """Its size in bytes."""
    shard: int
    offset: int
    checksum: int
    data_type: str
    """As in ``DT_FLOAT``."""


class DamagedError(Exception):
    """A checkpoint is damaged; the message says how."""


def entries(index: Path) -> list[Entry]:
    """Return the variables that an index lists; raises `DamagedError` when it is not an index.

    A variable that is saved in slices, by `tf.compat.v1`'s partitioners, has an entry for each slice and none for the
    whole, which has no data of its own.
    """
    table = index.read_bytes()
    if len(table) < _FOOTER_BYTES or table[-8:] != _MAGIC:
        raise DamagedError(f"{index.name} is cut or damaged: it does not end like an index")
    try:
        read = ((key, protos.BundleEntryProto.FromString(value)) for key, value in _rows(table) if key)
        return [
            Entry(
                key=key.decode(errors="replace"),
                size=entry.size,
                shard=entry.shard_id,
                offset=entry.offset,
                checksum=entry.crc32c,
                data_type=protos.data_type_name(entry.dtype),
            )
            for key, entry in read
            if not entry.slices
        ]
    except (ValueError, IndexError, struct.error, protos.DecodeError) as error:
        raise DamagedError(f"{index.name} is damaged: {error}") from error


def _rows(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of all blocks that the index block lists."""
    footer = table[-_FOOTER_BYTES:]
    _, after = varint(footer, 0)  # of the block of meta blocks: its offset, and
    _, after = varint(footer, after)  # its size
    offset, after = varint(footer, after)
    size, _ = varint(footer, after)
    for _, handle in _block(table, offset, size):
        start, after = varint(handle, 0)
        length, _ = varint(handle, after)
        yield from _block(table, start, length)


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    if offset + size >= len(table):
        raise ValueError("a block begins behind the end")
    block = table[offset : offset + size]
    if table[offset + size] == _SNAPPY:
        block = _decompressed(block)
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = size - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _decompressed(block: bytes) -> bytes:
    with needs("doctor", "what a compressed checkpoint lists"):
        import cramjam
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error


def check(folder: Path) -> list[str]:
    """Return the errors of the data in the folder `variables`, by its index; raises `DamagedError` for the index itself."""
    listed = entries(folder / "variables.index")
    shards = {path.name: path for path in folder.glob("variables.data-*")}
    wrong = []
    for entry in listed:
        path = next((shards[name] for name in shards if name.startswith(f"variables.data-{entry.shard:05d}-")), None)
        if path is None:
            wrong.append(f"variables.data-{entry.shard:05d}-of-… is missing, which holds {entry.key}")
        elif path.stat().st_size < entry.offset + entry.size:
            wrong.append(f"{path.name} is cut: {entry.key} ends at byte {entry.offset + entry.size} of it")
        elif entry.data_type != "DT_STRING" and _checksum(path, entry) != entry.checksum:
            wrong.append(f"{path.name} is damaged: the checksum of {entry.key} does not match")
    return wrong


def _checksum(path: Path, entry: Entry) -> int:
    """Return the data's CRC32C, masked like LevelDB's."""
    with needs("doctor", "the checksum of a checkpoint"):
        import google_crc32c
    crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]  # the library has no types
    left = entry.size
    with path.open("rb") as data:
        data.seek(entry.offset)
        while left and (block := data.read(min(left, _BLOCK))):
            crc.update(block)
            left -= len(block)
    found = int.from_bytes(crc.digest(), "big")
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF
