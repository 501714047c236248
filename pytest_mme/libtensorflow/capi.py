"""The binding: `ctypes` prototypes of the part of TensorFlow's C API that the kit calls.

Every name and signature is from `tensorflow/c/c_api.h`, `tf_tensor.h`, `tf_status.h` and `tf_buffer.h` of the wheel.
ctypes releases the GIL for the length of each call.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

from pytest_mme.errors import OpLibraryError, TensorFlowError, TensorFlowMissingError
from pytest_mme.libtensorflow.op_libraries import advice, may_register


class Buffer(ctypes.Structure):
    """`TF_Buffer`."""

    _fields_ = [("data", c_void_p), ("length", c_size_t), ("data_deallocator", c_void_p)]

    def view(self) -> memoryview:
        """Return the buffer's bytes, not copied: valid until it is deleted."""
        return memoryview((c_char * self.length).from_address(self.data or 0)).cast("B")


class Output(ctypes.Structure):
    """`TF_Output`: an operation of a graph and the index of one of its outputs."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


Deallocator = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)

_PROTOTYPES: dict[str, tuple[object, list[object]]] = {
    "TF_Version": (c_char_p, []),
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(Buffer), []),
    "TF_DeleteBuffer": (None, [POINTER(Buffer)]),
    "TF_LoadLibrary": (c_void_p, [c_char_p, c_void_p]),
    "TF_GetOpList": (Buffer, [c_void_p]),
    "TF_DeleteLibraryHandle": (None, [c_void_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_SetConfig": (None, [c_void_p, c_void_p, c_size_t, c_void_p]),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_OperationNumOutputs": (c_int, [c_void_p]),
    "TF_OperationOutputType": (c_int, [Output]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p],
    ),
    "TF_SessionRun": (
        None,
        [
            *(c_void_p, POINTER(Buffer)),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(POINTER(c_void_p), c_int, c_void_p, c_void_p),
        ],
    ),
    "TF_SessionListDevices": (c_void_p, [c_void_p, c_void_p]),
    "TF_DeviceListCount": (c_int, [c_void_p]),
    "TF_DeviceListType": (c_char_p, [c_void_p, c_int, c_void_p]),
    "TF_DeleteDeviceList": (None, [c_void_p]),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_NewTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_void_p, c_size_t, Deallocator, c_void_p]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
    "TF_StringDealloc": (None, [c_void_p]),
}


class Library:
    """TensorFlow's shared libraries, opened; the C API's functions are methods: `library.TF_Version()`.

    Opened with `RTLD_LOCAL`: the framework library exports OpenSSL's symbols, and with `RTLD_GLOBAL` a later import of
    `ssl` or `hashlib` crashes (measured; docs/facts.md). Opening starts no thread, so a process that has only done
    this may fork; one that has loaded a model may not.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Open the libraries in *directory*, by default those of the installed wheel; raises `TensorFlowMissingError`."""
        self.directory = directory or installed_directory()
        path = self.directory / "libtensorflow_cc.so.2"
        try:
            # Up to 2.11 the other library would look for it in another folder.
            ctypes.CDLL(str(self.directory / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_LOCAL)
            self._cdll = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
            functions = {name: getattr(self._cdll, name) for name in _PROTOTYPES}
        except (OSError, AttributeError) as error:
            raise TensorFlowMissingError(str(path), str(error)) from error
        for name, function in functions.items():
            function.restype, function.argtypes = _PROTOTYPES[name]
            setattr(self, name, function)
        self._claimed_by: int | None = None

    def __getattr__(self, name: str) -> ctypes._NamedFuncPointer:  # only for names that __init__ did not set
        raise AttributeError(f"{name} is not among the functions of TensorFlow's C API that the kit binds")

    @property
    def version(self) -> str:
        """TensorFlow's version, for example ``2.21.0``."""
        return str(self.TF_Version().decode())

    def claim(self) -> None:
        """Note that this process loads a model; raises RuntimeError in a child forked from one that did.

        TensorFlow's threads do not survive a fork, so such a child would hang in its first call (measured).
        """
        if self._claimed_by is None:
            self._claimed_by = os.getpid()
        elif self._claimed_by != os.getpid():
            raise RuntimeError(
                f"process {os.getpid()} was forked from {self._claimed_by}, which had loaded a model, and TensorFlow "
                f"hangs in such a child; fork before the first load, or start a new process"
            )

    def load_ops(self, path: Path) -> None:
        """Register the operations and kernels of the op library *path*, for as long as this process lives.

        Loading it again changes nothing. Raises `OpLibraryError`, a `TensorFlowError`, with TensorFlow's code and
        message and what to do about it; also for a library that has nothing to do with TensorFlow, which TensorFlow
        itself accepts (measured).
        """
        handle = None
        try:
            with self.status() as status:
                handle = self.TF_LoadLibrary(
                    os.fsencode(path.absolute()), status
                )  # dlopen searches for a bare name elsewhere
        except TensorFlowError as error:
            next_step = advice(path, error.message, self.version)
            raise OpLibraryError(str(path), error.code, error.message, next_step) from error
        registered = self.TF_GetOpList(handle).length
        self.TF_DeleteLibraryHandle(handle)  # it does not unload the library (c_api.h)
        if not registered and not may_register(path):
            seen = "it registers no operation and refers to no function of TensorFlow that could"
            raise OpLibraryError(str(path), "INVALID_ARGUMENT", seen, "check that it is the right file")

    @contextmanager
    def status(self) -> Iterator[c_void_p]:
        """Yield a `TF_Status` for the calls in the block; an error in it is raised as `TensorFlowError` at the end."""
        status = c_void_p(self.TF_NewStatus())
        try:
            yield status
            if code := self.TF_GetCode(status):
                raise TensorFlowError(code, self.TF_Message(status).decode(errors="replace"))
        finally:
            self.TF_DeleteStatus(status)


def installed_directory() -> Path:
    """Return the folder of the installed wheel's libraries, found without importing TensorFlow."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise TensorFlowMissingError("the package tensorflow", f"not installed for {sys.executable}")
    return Path(spec.submodule_search_locations[0])
