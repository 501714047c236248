"""A SavedModel, loaded by TensorFlow's own C++ loader."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_void_p
from pathlib import Path

from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Buffer, Library
from pytest_mme.libtensorflow.plans import Plan, listed
from pytest_mme.libtensorflow.signatures import Signature, TensorSpec, read_signatures
from pytest_mme.libtensorflow.tensors import Array, StringBuffers, to_array, to_tensor

__all__ = ["SavedModel", "Signature", "TensorSpec"]


class SavedModel:
    """One loaded SavedModel. `run` may be called from many threads at once; `close` waits for them.

    One that is dropped without `close` is freed when Python collects it.
    """

    signatures: Mapping[str, Signature]

    def __init__(
        self, library: Library, directory: Path, *, tags: Sequence[str] = ("serve",), config: bytes = b""
    ) -> None:
        """Load the SavedModel in *directory* (the folder that holds `saved_model.pb`).

        *config* is a serialised `ConfigProto` (threads, GPU options). Raises `TensorFlowError` with the C++ loader's
        code and message. After this call the process must not fork any more: a child that uses TensorFlow hangs, or,
        when it uses this *library*, gets a RuntimeError.
        """
        library.claim()
        self._library = library
        self._strings = StringBuffers(library)
        self._plans: dict[str, Plan] = {}
        self._idle = threading.Condition()
        self._running = 0
        self._open = True
        self._closing = threading.Lock()
        self._graph, self._session = c_void_p(library.TF_NewGraph()), c_void_p()
        self._free = weakref.finalize(self, _free, library, self._strings, self._graph, self._session, os.getpid())
        self._free.atexit = False  # the end of the process frees everything, even during a run
        self._load(directory, tags, config)

    def _load(self, directory: Path, tags: Sequence[str], config: bytes) -> None:
        library = self._library
        options, meta_graph = c_void_p(library.TF_NewSessionOptions()), library.TF_NewBuffer()
        try:
            with library.status() as status:
                library.TF_SetConfig(options, config, len(config), status)
            with library.status() as status:
                self._session.value = library.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(directory),
                    (c_char_p * len(tags))(*(tag.encode() for tag in tags)),
                    len(tags),
                    self._graph,
                    meta_graph,
                    status,
                )
            self.signatures = read_signatures(meta_graph.contents.view())
        finally:
            library.TF_DeleteBuffer(meta_graph)
            library.TF_DeleteSessionOptions(options)

    def device_types(self) -> set[str]:
        """Return the types of devices for the operations, for example ``{"CPU", "GPU"}``; raises ValueError when it is closed."""
        library = self._library
        with self._in_use(), library.status() as status:
            devices = library.TF_SessionListDevices(self._session, status)
            count = library.TF_DeviceListCount(devices) if devices else 0
            types = {library.TF_DeviceListType(devices, number, status).decode() for number in range(count)}
            library.TF_DeleteDeviceList(devices)
        return types

    def run(
        self, inputs: Mapping[str, Array], *, signature: str = "serving_default", timeout_ms: int | None = None
    ) -> dict[str, Array]:
        """Run the model on *inputs*, arrays of the signature's dtypes by input name; returns arrays by output name.

        Raises `TensorFlowError`: INVALID_ARGUMENT for a missing input or a shape that an operation cannot take (the
        signature's shape is not enforced), DEADLINE_EXCEEDED after *timeout_ms*, CANCELLED when the model is
        closed meanwhile; KeyError for a signature or input that the model does not have; TypeError for an array of
        another dtype (none is converted) and for a signature that numpy cannot express; ValueError when the model is
        closed.
        """
        library, options = self._library, None if timeout_ms is None else _RunOptions(timeout_ms)
        with self._in_use():
            plan = self._plan(signature)
            names, sources = plan.feeds(inputs)
            tensors, results = list[int](), (c_void_p * len(plan.targets))()
            try:
                # Not a comprehension: when one raises, those made before it must be freed.
                for name in names:
                    try:
                        tensors.append(to_tensor(library, self._strings, inputs[name], plan.types[name]))
                    except TypeError as error:
                        raise TypeError(f"input {name!r} of signature {signature!r}: {error}") from error
                with library.status() as status:
                    library.TF_SessionRun(
                        self._session,
                        options,
                        *(sources, (c_void_p * len(tensors))(*tensors), len(tensors)),
                        *(plan.targets, results, len(results)),
                        *(None, 0, None, status),
                    )
                arrays = (to_array(library, handle) for handle in results if handle is not None)
                return dict(zip(plan.signature.outputs, arrays, strict=True))
            finally:
                for handle in filter(None, (*results, *tensors)):
                    library.TF_DeleteTensor(handle)

    def _plan(self, signature: str) -> Plan:
        plan = self._plans.get(signature)
        if plan is None:
            if signature not in self.signatures:
                raise KeyError(f"no signature {signature!r}; the model has {listed(self.signatures)}")
            plan = self._plans[signature] = Plan(self._library, self._graph, self.signatures[signature])
        return plan

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._idle:
            if not self._open:
                raise ValueError("this SavedModel is closed")
            self._library.claim()
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Cancel the runs in progress, wait until they return, and free the session. Closing twice is fine.

        TensorFlow cancels between operations and within those that wait; it waits for one that computes.
        """
        with self._closing:
            with self._idle:
                self._open = False
            if not (self._free.alive and self._session):
                return
            self._library.claim()
            with self._library.status() as status:
                self._library.TF_CloseSession(self._session, status)
            with self._idle:
                self._idle.wait_for(lambda: self._running == 0)
            self._free()


def _free(library: Library, _strings: StringBuffers, graph: c_void_p, session: c_void_p, process: int) -> None:
    """Free what TensorFlow holds for a model; the memory of its strings has to live until then.

    In a forked child there is nothing to free: its copy ends with it, and a call of TensorFlow would hang.
    """
    if os.getpid() != process:
        return
    if session:
        with library.status() as status:
            library.TF_DeleteSession(session, status)
    library.TF_DeleteGraph(graph)


class _RunOptions(Buffer):
    """A serialised `RunOptions` and its memory."""

    def __init__(self, timeout_ms: int) -> None:
        if timeout_ms < 1:
            raise ValueError(f"timeout_ms is {timeout_ms}; TensorFlow takes 1 or more, and None for no limit")
        serialised = protos.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
        self._memory = ctypes.create_string_buffer(serialised, len(serialised))
        super().__init__(ctypes.addressof(self._memory), len(serialised), None)
