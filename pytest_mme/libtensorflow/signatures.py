"""The signatures of a SavedModel, read from the `MetaGraphDef` that the loader returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.tensors import numpy_dtype

_SIGNATURE_DEF: int = protos.MetaGraphDef.DESCRIPTOR.fields_by_name["signature_def"].number


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    name: str
    """The name of its tensor in the graph, for example ``"serving_default_x:0"``; empty for a sparse or composite tensor."""
    data_type: int
    """TensorFlow's `DataType` number."""
    shape: tuple[int | None, ...] | None
    """None for an unknown dimension; None instead of the tuple for an unknown rank."""

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Return the numpy dtype; raises TypeError when there is none."""
        if not self.name:
            raise TypeError("a sparse or composite tensor cannot be fed or fetched as one numpy array")
        return numpy_dtype(self.data_type)


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel: named inputs to named outputs."""

    name: str
    method: str
    """TensorFlow Serving's name of the method, for example ``"tensorflow/serving/predict"``."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    definition: Any
    """The `SignatureDef` message that it was read from."""


def read_signatures(meta_graph: memoryview) -> dict[str, Signature]:
    """Read the signatures of a serialised `MetaGraphDef`, by name.

    Only they are parsed: the message holds the graph, too, and parsing its constants would take twice their memory
    again, while the load itself takes the most.
    """
    parsed = protos.MetaGraphDef.FromString(_only_field(_SIGNATURE_DEF, meta_graph))
    return {
        name: Signature(name, found.method_name, _tensor_specs(found.inputs), _tensor_specs(found.outputs), found)
        for name, found in parsed.signature_def.items()
    }


def _tensor_specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for key, info in sorted(infos.items()):
        dims = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        known = info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank
        specs[key] = TensorSpec(info.name, info.dtype, dims if known else None)
    return specs


def _only_field(number: int, message: memoryview) -> bytes:
    """Drop all other fields of a serialised *message*: see protobuf.dev/programming-guides/encoding."""
    kept, end = bytearray(), 0
    while end < len(message):
        start = end
        tag, end = protos.varint(message, end)
        if tag & 7 != 2:
            return bytes(message)  # not length-delimited, as all known fields are: leave it to protobuf
        length, end = protos.varint(message, end)
        end += length
        if tag >> 3 == number:
            kept += message[start:end]
    return bytes(kept)
