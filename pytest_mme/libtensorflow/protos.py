"""TensorFlow's messages, from one checked-in descriptor set in a pool of its own.

The message classes of two TensorFlow wheels collide in protobuf's default pool, and old ones refuse a new protobuf
runtime (docs/facts.md). `descriptors.binpb` is made by `tools/make_descriptors.py`.

It works with every protobuf from 3.20.3 on, since each TensorFlow comes with another: 2.12 to 2.17 need one before 5.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError as DecodeError

_POOL = descriptor_pool.DescriptorPool()
for _file in FileDescriptorSet.FromString(files(__package__).joinpath("descriptors.binpb").read_bytes()).file:
    _POOL.AddSerializedFile(_file.SerializeToString())


def _message(name: str) -> Any:
    described = _POOL.FindMessageTypeByName(f"tensorflow.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(described)
    return message_factory.MessageFactory(_POOL).GetPrototype(described)  # type: ignore[attr-defined]  # before 4.22


AssetFileDef = _message("AssetFileDef")
AttrValue = _message("AttrValue")
BundleEntryProto = _message("BundleEntryProto")
CollectionDef = _message("CollectionDef")
ConfigProto = _message("ConfigProto")
Example = _message("Example")
FunctionDef = _message("FunctionDef")
GraphDef = _message("GraphDef")
KernelList = _message("KernelList")
MetaGraphDef = _message("MetaGraphDef")
OpList = _message("OpList")
RunOptions = _message("RunOptions")
SavedModel = _message("SavedModel")
TensorInfo = _message("TensorInfo")
TensorProto = _message("TensorProto")
TensorShapeProto = _message("TensorShapeProto")

_DATA_TYPES = _POOL.FindEnumTypeByName("tensorflow.DataType")


def data_type_number(name: str) -> int:
    """Return the number of a `DataType` such as ``"DT_FLOAT"``; KeyError if there is none of that name."""
    number: int = _DATA_TYPES.values_by_name[name].number
    return number


def data_type_name(number: int) -> str:
    """Return the name of a `DataType` number, or ``"DT_<number>"`` for one that this descriptor set does not know."""
    value = _DATA_TYPES.values_by_number.get(number)
    return str(value.name) if value is not None else f"DT_{number}"


def data_type_numbers() -> list[int]:
    """Return the numbers of all that this descriptor set knows, without those of references."""
    return [value.number for value in _DATA_TYPES.values if not value.name.endswith("_REF")]


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Decode the number at *at*, in protobuf's base 128, which LevelDB has, too; return it and the position behind it.

    Source: protobuf.dev/programming-guides/encoding, "Base 128 Varints".
    """
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
