"""Graphs written node by node, with TensorFlow's own messages and without its Python package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_mme.libtensorflow import protos

# The number of TensorFlow 2.12, the oldest that the kit supports. A newer producer would let every later version load
# the graph just the same, but 2.12 to 2.18 wrap the text of their errors when the producer is newer than themselves.
PRODUCER = 1395

_VALUES = {
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_STRING": "string_val",
    "DT_BOOL": "bool_val",
}


class Nodes:
    """The nodes of a graph or of a function's body, while they are written."""

    def __init__(self, written: Any, prefix: str = "") -> None:
        """Append to *written*, a repeated `NodeDef` field; every name starts with *prefix*."""
        self._written, self._prefix = written, prefix
        self._used: Counter[str] = Counter()

    def add(self, op: str, *inputs: str, name: str = "", after: Iterable[str] = (), **attributes: Any) -> str:
        """Append a node that runs once the nodes *after* have run; returns its name, which is its first output, too.

        Attributes are bool, int, float, bytes, or what the functions of this module return. Those that have a default
        may be left out: the loader fills them in.
        """
        wanted = name or op
        self._used[wanted] += 1
        unique = wanted if self._used[wanted] == 1 else f"{wanted}_{self._used[wanted]}"
        inputs = (*inputs, *(f"^{one}" for one in after))
        node = self._written.add(op=op, name=f"{self._prefix}{unique}", input=inputs)
        for key, value in attributes.items():
            node.attr[key].CopyFrom(_attribute(value))
        return str(node.name)

    def constant(self, data_type: str, value: Any) -> str:
        """Append a constant: a scalar, or a vector if *value* is a list."""
        return self.add("Const", dtype=type_of(data_type), value=tensor(data_type, value))


def new_graph() -> Any:
    """Return an empty `GraphDef` that TensorFlow 2.12 and every later version loads."""
    graph = protos.GraphDef()
    graph.versions.producer = PRODUCER
    return graph


def type_of(data_type: str) -> Any:
    """Return an attribute that is a type, from a name such as ``"DT_FLOAT"``."""
    return protos.AttrValue(type=protos.data_type_number(data_type))


def types_of(*data_types: str) -> Any:
    """Return an attribute that is a list of types."""
    numbers = [protos.data_type_number(data_type) for data_type in data_types]
    return protos.AttrValue(list=protos.AttrValue.ListValue(type=numbers))


def shape(*dims: int | None) -> Any:
    """Return a `TensorShapeProto`; None is a dimension of any size."""
    sizes = [{"size": -1 if dim is None else dim} for dim in dims]
    return protos.TensorShapeProto(dim=sizes)


def tensor(data_type: str, value: Any) -> Any:
    """Return an attribute that is a tensor: a scalar, or a vector if *value* is a list."""
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    dims = (len(values),) if isinstance(value, list) else ()
    content = protos.TensorProto(
        dtype=protos.data_type_number(data_type), tensor_shape=shape(*dims), **{_VALUES[data_type]: values}
    )
    return protos.AttrValue(tensor=content)


def _attribute(value: Any) -> Any:
    if isinstance(value, protos.AttrValue):
        return value
    if isinstance(value, protos.TensorShapeProto):
        return protos.AttrValue(shape=value)
    field = {bool: "b", int: "i", float: "f", bytes: "s"}[type(value)]
    return protos.AttrValue(**{field: value})
