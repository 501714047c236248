"""A SavedModel, loaded by TensorFlow's own C++ loader."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_void_p
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Buffer, Library, Output
from pytest_mme.libtensorflow.tensors import Array, StringBuffers, numpy_dtype, to_array, to_tensor


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature."""

    name: str
    """Its tensor in the graph, for example ``"serving_default_x:0"``."""
    data_type: int
    """TensorFlow's `DataType` number."""
    shape: tuple[int | None, ...] | None
    """None for an unknown dimension; None instead of the tuple for an unknown rank."""

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Its numpy dtype; TypeError when it has none."""
        return numpy_dtype(self.data_type)


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a SavedModel can be asked: named inputs to named outputs."""

    name: str
    method: str
    """TensorFlow Serving's name of the method, for example ``"tensorflow/serving/predict"``."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class SavedModel:
    """One loaded SavedModel. `run` may be called from many threads at once; `close` waits for them."""

    def __init__(
        self, library: Library, directory: Path, *, tags: Sequence[str] = ("serve",), config: bytes = b""
    ) -> None:
        """Load the SavedModel in *directory* (the folder that holds `saved_model.pb`).

        *config* is a serialised `ConfigProto` (threads, GPU options). Raises `TensorFlowError` with the C++ loader's
        code and words. Once this was called the process must not fork any more: a child that uses TensorFlow hangs.
        """
        self._library = library
        self._strings = StringBuffers(library)
        self._idle = threading.Condition()
        self._running = 0
        self._graph = c_void_p(library.TF_NewGraph())
        self._session: c_void_p | None = None
        self.signatures: Mapping[str, Signature] = {}
        try:
            meta_graph = self._load(directory, tags, config)
        except BaseException:
            library.TF_DeleteGraph(self._graph)
            raise
        self.signatures = dict(_signatures(meta_graph))
        self._outputs: dict[str, Output] = {}

    def _load(self, directory: Path, tags: Sequence[str], config: bytes) -> Any:
        library = self._library
        options, meta_graph = c_void_p(library.TF_NewSessionOptions()), library.TF_NewBuffer()
        try:
            with library.status() as status:
                library.TF_SetConfig(options, config, len(config), status)
            with library.status() as status:
                session = library.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    str(directory).encode(),
                    (c_char_p * len(tags))(*(tag.encode() for tag in tags)),
                    len(tags),
                    self._graph,
                    meta_graph,
                    status,
                )
            self._session = c_void_p(session)
            return protos.MetaGraphDef.FromString(
                ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
            )
        finally:
            library.TF_DeleteBuffer(meta_graph)
            library.TF_DeleteSessionOptions(options)

    def run(
        self, inputs: Mapping[str, Array], *, signature: str = "serving_default", timeout_ms: int | None = None
    ) -> dict[str, Array]:
        """Answer *inputs* (arrays of the signature's dtypes, by input name) with arrays by output name.

        Raises `TensorFlowError`: INVALID_ARGUMENT for a wrong shape, DEADLINE_EXCEEDED after *timeout_ms*, CANCELLED
        when the model is closed meanwhile; KeyError for a signature or input that the model does not have.
        """
        asked = self.signatures[signature]
        fed = [(asked.inputs[name], array) for name, array in inputs.items()]
        fetched = self._run(fed, asked.outputs.values(), timeout_ms)
        return dict(zip(asked.outputs, fetched, strict=True))

    def _run(
        self, fed: Sequence[tuple[TensorSpec, Array]], fetch: Iterable[TensorSpec], timeout_ms: int | None
    ) -> list[Array]:
        library = self._library
        sources = [self._output(spec.name) for spec, _ in fed]
        targets = [self._output(spec.name) for spec in fetch]
        results = (c_void_p * len(targets))()
        tensors: list[int] = []
        try:
            with self._in_use() as session, _run_options(timeout_ms) as options:
                tensors += (to_tensor(library, self._strings, array, spec.data_type) for spec, array in fed)
                with library.status() as status:
                    library.TF_SessionRun(
                        session,
                        options,
                        *((Output * len(sources))(*sources), (c_void_p * len(tensors))(*tensors), len(sources)),
                        *((Output * len(targets))(*targets), results, len(targets)),
                        *(None, 0, None, status),
                    )
                return [to_array(library, handle) for handle in results if handle is not None]
        finally:
            for handle in (*tensors, *results):
                if handle is not None:
                    library.TF_DeleteTensor(handle)

    def _output(self, tensor: str) -> Output:
        found = self._outputs.get(tensor)
        if found is None:
            operation, _, index = tensor.partition(":")
            pointer = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            if pointer is None:
                raise KeyError(f"the signature names the tensor {tensor!r}, but the graph has no such operation")
            found = self._outputs[tensor] = Output(pointer, int(index or 0))
        return found

    @contextmanager
    def _in_use(self) -> Iterator[c_void_p]:
        with self._idle:
            if self._session is None:
                raise ValueError("this SavedModel is closed")
            session = self._session
            self._running += 1
        try:
            yield session
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Cancel what runs, wait for it to return, and free the session. Closing twice is fine."""
        with self._idle:
            session, self._session = self._session, None
        if session is None:
            return
        with self._library.status() as status:
            self._library.TF_CloseSession(session, status)
        with self._idle:
            self._idle.wait_for(lambda: self._running == 0)
        with self._library.status() as status:
            self._library.TF_DeleteSession(session, status)
        self._library.TF_DeleteGraph(self._graph)


@contextmanager
def _run_options(timeout_ms: int | None) -> Iterator[Any]:
    if timeout_ms is None:
        yield None
        return
    serialised = protos.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
    memory = ctypes.create_string_buffer(serialised, len(serialised))
    yield ctypes.byref(Buffer(ctypes.cast(memory, c_void_p), len(serialised), None))


def _signatures(meta_graph: Any) -> Iterator[tuple[str, Signature]]:
    for name, signature in meta_graph.signature_def.items():
        yield (
            name,
            Signature(
                name,
                signature.method_name,
                {key: _tensor_spec(info) for key, info in sorted(signature.inputs.items())},
                {key: _tensor_spec(info) for key, info in sorted(signature.outputs.items())},
            ),
        )


def _tensor_spec(info: Any) -> TensorSpec:
    shape = (
        None
        if info.tensor_shape.unknown_rank
        else tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    )
    return TensorSpec(info.name, info.dtype, shape)
