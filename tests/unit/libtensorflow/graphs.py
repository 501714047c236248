"""SavedModels made by hand, node by node: exactly the graph that a test needs, in a millisecond, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_mme.libtensorflow import protos

Shape = Sequence[int | None] | None
"""None for an unknown dimension; None instead of the sequence for an unknown rank."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of the graph as a signature names it."""

    name: str
    dtype: str = "DT_FLOAT"
    shape: Shape = None

    def info(self) -> Any:
        """Its `TensorInfo`."""
        return protos.TensorInfo(
            name=self.name, dtype=protos.data_type_number(self.dtype), tensor_shape=shape_proto(self.shape)
        )


class Graph:
    """Nodes and signatures on their way into a SavedModel."""

    def __init__(self) -> None:
        self.meta_graph = protos.MetaGraphDef()
        self.meta_graph.graph_def.versions.producer = 1395  # TensorFlow 2.12: every version that the kit runs takes it

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its name; see `attribute` for what the attributes may be."""
        self.meta_graph.graph_def.node.add(
            op=op,
            name=name,
            input=inputs,
            attr={key: attribute(value) for key, value in attributes.items()},
        )
        return name

    def placeholder(self, name: str, dtype: str = "DT_FLOAT", shape: Shape = None) -> str:
        return self.node("Placeholder", name, dtype=dtype, shape=shape_proto(shape))

    def const(self, name: str, value: Any) -> str:
        """Add a constant from a `TensorProto`."""
        return self.node("Const", name, dtype=protos.data_type_name(value.dtype), value=value)

    def sign(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], *, name: str = "serving_default") -> None:
        """Add a signature; the tensors are `Tensor` or, for the odd ones, `TensorInfo`."""
        signature = self.meta_graph.signature_def[name]
        signature.method_name = "tensorflow/serving/predict"
        for mine, given in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for key, tensor in given.items():
                mine[key].CopyFrom(tensor.info() if isinstance(tensor, Tensor) else tensor)

    def write(self, directory: Path, *, tags: Sequence[str] = ("serve",)) -> Path:
        """Write `saved_model.pb` into *directory* and return the directory."""
        self.meta_graph.meta_info_def.tags[:] = tags
        directory.mkdir(parents=True, exist_ok=True)
        saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[self.meta_graph])
        (directory / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        return directory


def identity(dtype: str = "DT_FLOAT", shape: Shape = None) -> Graph:
    """A graph whose output ``y`` is its input ``x``."""
    graph = Graph()
    graph.placeholder("x", dtype, shape)
    graph.node("Identity", "y", "x", T=dtype)
    graph.sign({"x": Tensor("x:0", dtype, shape)}, {"y": Tensor("y:0", dtype, shape)})
    return graph


def sleeping() -> Graph:
    """A graph that sleeps for its input ``us`` (microseconds, int64 scalar) without using a CPU, then returns 0.

    `SleepDataset` sleeps again to learn that its input has ended; `TakeDataset` spares it that.
    """
    graph = Graph()
    graph.placeholder("us", "DT_INT64", ())
    for name, value in (("zero", 0), ("one", 1)):
        graph.const(name, int64_scalar(value))
    yields = {"output_types": ["DT_INT64"], "output_shapes": [shape_proto(())]}
    graph.node("RangeDataset", "range", "zero", "one", "one", **yields)
    graph.node("SleepDataset", "sleep", "range", "us", **yields)
    graph.node("TakeDataset", "take", "sleep", "one", **yields)
    graph.node("DatasetToSingleElement", "y", "take", **yields)
    graph.sign({"us": Tensor("us:0", "DT_INT64", ())}, {"y": Tensor("y:0", "DT_INT64", ())})
    return graph


def keeping(dtype: str = "DT_STRING") -> Graph:
    """A graph with a variable: signature ``keep`` assigns ``x`` to it, signature ``kept`` reads it."""
    graph = Graph()
    graph.placeholder("x", dtype)
    graph.node("VarHandleOp", "variable", dtype=dtype, shape=shape_proto(None), shared_name=b"variable")
    graph.node("AssignVariableOp", "assign", "variable", "x", dtype=dtype)
    graph.node("ReadVariableOp", "after", "variable", "^assign", dtype=dtype)
    graph.node("Size", "size", "after", T=dtype, out_type="DT_INT32")
    graph.node("ReadVariableOp", "read", "variable", dtype=dtype)
    graph.sign({"x": Tensor("x:0", dtype)}, {"size": Tensor("size:0", "DT_INT32", ())}, name="keep")
    graph.sign({}, {"y": Tensor("read:0", dtype)}, name="kept")
    return graph


def int64_scalar(value: int) -> Any:
    """A `TensorProto`."""
    return protos.TensorProto(
        dtype=protos.data_type_number("DT_INT64"), tensor_shape=shape_proto(()), int64_val=[value]
    )


def shape_proto(shape: Shape) -> Any:
    """A `TensorShapeProto`."""
    if shape is None:
        return protos.TensorShapeProto(unknown_rank=True)
    proto = protos.TensorShapeProto()
    for size in shape:
        proto.dim.add(size=-1 if size is None else size)
    return proto


def attribute(value: Any) -> Any:
    """An `AttrValue`: from the name of a `DataType`, bytes, bool, int, a message, or a list of one of these."""
    found = protos.AttrValue()
    if isinstance(value, list):
        for element in value:
            _put(found.list, element, many=True)
    else:
        _put(found, value, many=False)
    return found


def _put(into: Any, value: Any, *, many: bool) -> None:
    field, plain = _field(value)
    if many:
        getattr(into, field).append(plain)
    elif isinstance(plain, int | bytes):
        setattr(into, field, plain)
    else:
        getattr(into, field).CopyFrom(plain)


def _field(value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        return "type", protos.data_type_number(value)
    if isinstance(value, bool | int | bytes):
        return {bool: "b", int: "i", bytes: "s"}[type(value)], value
    return {"TensorShapeProto": "shape", "TensorProto": "tensor"}[value.DESCRIPTOR.name], value
