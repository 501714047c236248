"""Estimates the memory that a SavedModel will need, from its graph, before it is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_mme.archives.archive import versions
from pytest_mme.errors import ArchiveError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.tensors import numpy_dtype

_VARIABLES = {"VarHandleOp", "VariableV2", "Variable", "TemporaryVariable"}
_CONSTANT_COPIES = 3  # a graph constant of N bytes costs 3 N after load (docs/facts.md)
_MAX_BYTES = (1 << 63) - 1  # shapes may claim anything
_PADDING = 1.05  # with oneDNN on, TensorFlow's allocator adds 4 % to a large variable (docs/facts.md)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The memory that a load will need beyond a worker's own overhead."""

    bytes: int
    fingerprint: str
    """Identifies the SavedModel by content, so that a measurement counts for its next load, too."""


def estimate(directory: Path, code: Path | None = None) -> Estimate:
    """Estimate the need of the model in *directory*: the variables and the constants of all its versions.

    *code*: the folder of user code, which may load the model in its own way; without it, raises `ArchiveError` when
    there is no version. An unreadable graph counts with its file's size: the loader will report the error.
    """
    try:
        found = [path for _, path in versions(directory)]
    except ArchiveError:
        if code is None:
            raise
        found = []
    fingerprint = hashlib.sha256()
    size = 0
    for version in found:
        content = (version / "saved_model.pb").read_bytes() if (version / "saved_model.pb").is_file() else b""
        fingerprint.update(content)
        _add_sizes(fingerprint, version.glob("variables/*"))
        size += _graph_bytes(content)
    if code is not None:
        _add_sizes(fingerprint, code.rglob("*"))
        _add_sizes(fingerprint, directory.rglob("*"))
    return Estimate(min(size, _MAX_BYTES), fingerprint.hexdigest())


def _add_sizes(fingerprint: Any, files: Iterable[Path]) -> None:
    for file in sorted(files):
        fingerprint.update(os.fsencode(file.name) + b":%d;" % file.lstat().st_size)


def _graph_bytes(content: bytes) -> int:
    from google.protobuf.message import DecodeError

    try:
        saved_model = protos.SavedModel.FromString(content)
    except DecodeError:
        return len(content)
    variables: dict[str, int] = {}
    constants = 0
    for node in _nodes(saved_model):
        if node.op in _VARIABLES:
            variables[node.attr["shared_name"].s.decode(errors="replace") or node.name] = _variable_bytes(node)
        elif node.op == "Const":
            constants += node.attr["value"].tensor.ByteSize()
    return int(_PADDING * sum(variables.values())) + _CONSTANT_COPIES * constants


def _nodes(saved_model: Any) -> Iterator[Any]:
    for meta_graph in saved_model.meta_graphs:
        yield from meta_graph.graph_def.node
        for function in meta_graph.graph_def.library.function:
            yield from function.node_def


def _variable_bytes(node: Any) -> int:
    shape = node.attr["shape"].shape
    if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
        return 0  # only the checkpoint has it; the measurement after the first load corrects the estimate
    try:
        itemsize = numpy_dtype(node.attr["dtype"].type).itemsize
    except TypeError:
        itemsize = 0
    return itemsize * math.prod(int(dim.size) for dim in shape.dim)
