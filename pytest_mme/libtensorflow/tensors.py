"""numpy arrays to `TF_Tensor` and back."""

from __future__ import annotations

import ctypes
import itertools
import math
from ctypes import c_int64
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_mme.errors import TensorFlowError, UnavailableError
from pytest_mme.extras import needs
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Deallocator, Library

Array = npt.NDArray[Any]

_NUMPY_NAMES = {
    "DT_BOOL": "bool",
    "DT_INT8": "int8",
    "DT_INT16": "int16",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_UINT8": "uint8",
    "DT_UINT16": "uint16",
    "DT_UINT32": "uint32",
    "DT_UINT64": "uint64",
    "DT_HALF": "float16",
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_COMPLEX64": "complex64",
    "DT_COMPLEX128": "complex128",
    "DT_STRING": "object",
    "DT_BFLOAT16": "bfloat16",
}
STRING = protos.data_type_number("DT_STRING")
_REF = 100  # kDataTypeRefOffset of tensorflow/core/framework/types.h: variables of TensorFlow 1 are references
# TF_TString, fixed by tsl/platform/ctstring_internal.h: the lowest bits of its first byte are its kind, 0 for a small
# one, which has its size in the other bits and its bytes behind them. A call for each string costs three times as much.
_STRING_BYTES, _SMALL_BYTES = 24, 22
_KIND, _KIND_BITS = 0b11, 2


@cache
def numpy_dtype(data_type: int) -> np.dtype[Any]:
    """Return the numpy dtype of a `DataType` number; strings are arrays of `object` that hold `bytes`.

    A reference (of a variable of TensorFlow 1) is read as the value that it refers to. Raises TypeError for types that
    have no numpy form (resources, variants, quantised, 8-bit float and 4-bit types).
    """
    name = _NUMPY_NAMES.get(protos.data_type_name(_value_type(data_type)))
    if name is None:
        raise TypeError(f"{protos.data_type_name(data_type)} cannot be fed or fetched as a numpy array")
    if name == "bfloat16":
        try:
            with needs("bfloat16", "bfloat16 in numpy"):
                import ml_dtypes  # only models that use bfloat16 pay for it
        except UnavailableError as error:
            raise TypeError(str(error)) from error
        name = ml_dtypes.bfloat16
    return np.dtype(name)


class StringBuffers:
    """The memory of string tensors, freed when TensorFlow deletes them.

    A graph may keep an input beyond the run (a variable assigned from it shares its buffer), so the strings are freed
    by the tensor's own deallocator and by nothing else.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._held: dict[int, ctypes.Array[Any]] = {}
        self._numbers = itertools.count(1)
        self._deallocator = Deallocator(self._free)

    def tensor(self, array: Array) -> int:
        """Make a `TF_Tensor` of strings from an array of `bytes` or `str`; raises TypeError for anything else."""
        if array.dtype.kind not in "OSUT":
            raise TypeError(f"it takes strings (dtype object, S or U), got {array.dtype.name}")
        strings = [one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()]
        for one in strings:
            if not isinstance(one, bytes):
                raise TypeError(f"it takes strings (bytes or str), got {type(one).__name__}: {one!r:.80}")
        memory = ctypes.create_string_buffer(b"".join(map(_small, strings)), max(len(strings) * _STRING_BYTES, 1))
        base = ctypes.addressof(memory)
        for offset, string in zip(itertools.count(base, _STRING_BYTES), strings):
            if len(string) > _SMALL_BYTES:
                self._library.TF_StringCopy(offset, string, len(string))
        number = next(self._numbers)
        self._held[number] = memory
        handle: int = self._library.TF_NewTensor(
            STRING, _dims(array), array.ndim, base, len(strings) * _STRING_BYTES, self._deallocator, number
        )
        return handle

    def _free(self, data: int | None, length: int, number: int) -> None:
        memory = self._held[number].raw
        for offset in range(0, length, _STRING_BYTES):
            if memory[offset] & _KIND:
                self._library.TF_StringDealloc((data or 0) + offset)
        del self._held[number]


def to_tensor(library: Library, strings: StringBuffers, array: Array, data_type: int) -> int:
    """Make a `TF_Tensor` of *data_type* with the contents of *array*, in any memory order and byte order.

    Raises TypeError unless the array has the dtype that goes with *data_type* (for strings: object, S or U), and
    `TensorFlowError` RESOURCE_EXHAUSTED when TensorFlow's allocator has no memory for it.
    """
    array = np.asarray(array)
    if _value_type(data_type) == STRING:
        return strings.tensor(array)
    dtype = numpy_dtype(data_type)
    if array.dtype.newbyteorder("=") != dtype:  # values are never converted: that is the caller's decision
        raise TypeError(f"it takes {dtype.name}, got {array.dtype.name}; convert it, for example with astype()")
    array = np.asarray(array, dtype, order="C")
    handle: int = library.TF_AllocateTensor(_value_type(data_type), _dims(array), array.ndim, array.nbytes)
    data = library.TF_TensorData(handle)
    if data is None and array.nbytes:
        library.TF_DeleteTensor(handle)
        raise TensorFlowError("RESOURCE_EXHAUSTED", f"could not allocate an input of {array.nbytes} bytes")
    ctypes.memmove(data, array.ctypes.data, array.nbytes)
    return handle


def _value_type(data_type: int) -> int:
    return data_type - _REF if data_type > _REF else data_type


def to_array(library: Library, handle: int) -> Array:
    """Copy a `TF_Tensor` to a numpy array."""
    shape = tuple(library.TF_Dim(handle, axis) for axis in range(library.TF_NumDims(handle)))
    data_type = library.TF_TensorType(handle)
    data = library.TF_TensorData(handle)
    if data_type == STRING:
        return _strings(library, data, shape)
    array = np.empty(shape, numpy_dtype(data_type))
    ctypes.memmove(array.ctypes.data, data, array.nbytes)
    return array


def _strings(library: Library, data: int | None, shape: tuple[int, ...]) -> Array:
    array = np.empty(math.prod(shape), object)
    first = data or 0  # None when there are no elements
    memory = ctypes.string_at(first, array.size * _STRING_BYTES) if array.size else b""
    array[:] = [
        ctypes.string_at(library.TF_StringGetDataPointer(first + at), library.TF_StringGetSize(first + at))
        if memory[at] & _KIND
        else memory[at + 1 : at + 1 + (memory[at] >> _KIND_BITS)]
        for at in range(0, len(memory), _STRING_BYTES)
    ]
    return array.reshape(shape)


def _small(string: bytes) -> bytes:
    """Encode a `TF_TString` that holds *string* itself; an empty one when it does not fit."""
    if len(string) > _SMALL_BYTES:
        return bytes(_STRING_BYTES)
    return bytes((len(string) << _KIND_BITS,)) + string.ljust(_STRING_BYTES - 1, b"\0")


def _dims(array: Array) -> ctypes.Array[c_int64]:
    return (c_int64 * array.ndim)(*array.shape)
