"""A worker: the process that holds one model."""

from __future__ import annotations

import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pytest_mme.archives.archive import versions
from pytest_mme.archives.code import op_libraries_in
from pytest_mme.errors import ArchiveError, TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.capi import Library
from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving import rest
from pytest_mme.serving.memory.allocator import use_slot
from pytest_mme.serving.memory.estimate import estimate
from pytest_mme.serving.processes.channel import ChannelServer, Head
from pytest_mme.serving.processes.child_config import ChildConfig

_REQUESTS_AT_ONCE = 64
_GPU_IS_FULL = "CUDA_ERROR_OUT_OF_MEMORY"  # TensorFlow reports it as INTERNAL where it is not an allocator's
_NO_GPU = (
    "TensorFlow sees no GPU: its own CUDA libraries are missing or too new for the driver; "
    "pip install 'tensorflow[and-cuda]' brings them, and the server's log shows what TensorFlow looked for"
)


class Worker:
    """Serves the front's requests, many at once."""

    def __init__(self, config: ChildConfig, front: socket.socket, library: Library) -> None:
        self._config, self._front, self._library = config, ChannelServer(front), library
        self._versions: dict[int, SavedModel] = {}

    def run(self) -> None:
        """Take requests until the front hangs up. Those still running then are cut off with the process."""
        if self._config.allocator_slot is not None:
            use_slot(self._config.allocator_slot)
        pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE, "request")
        self._front.serve(lambda number, head, body: pool.submit(self._handle, number, head, body))

    def _handle(self, number: int, head: Head, body: bytes) -> None:
        began_s = time.monotonic()
        try:
            reply, content = self._do(head, body)
        except TensorFlowError as error:
            code = "RESOURCE_EXHAUSTED" if _GPU_IS_FULL in error.message else error.code
            reply, content = {"code": code, "error": error.message}, b""
        except ArchiveError as error:
            reply, content = {"code": "NO_ARCHIVE", "error": str(error)}, b""
        except Exception as error:  # noqa: BLE001  whatever it is, the front must receive it
            traceback.print_exc()
            reply, content = {"code": "INTERNAL", "error": f"{type(error).__name__}: {error}"}, b""
        worked = began_s, time.monotonic()
        try:
            self._front.reply(number, {**reply, "worked": worked}, content)
        except TypeError as error:  # orjson's: the head holds something that JSON cannot express
            refused = {"code": "INTERNAL", "error": f"the worker's reply cannot be sent: {error}", "worked": worked}
            self._front.reply(number, refused)

    def _do(self, head: Head, body: bytes) -> tuple[Head, bytes]:
        match head["operation"]:
            case "estimate":
                need = estimate(Path(head["directory"]), Path(head["code"]) if head["code"] else None)
                return {"bytes": need.bytes, "fingerprint": need.fingerprint}, b""
            case "load":
                return self._load(Path(head["directory"])), b""
            case "invoke":
                _, model = self._version(head)
                return {}, rest.METHODS[head["method"]](model, body)
            case "status":
                return {}, rest.status(self._versions if head["version"] is None else [self._version(head)[0]])
            case "metadata":
                version, model = self._version(head)
                return {}, rest.metadata(model, name=head["model"], version=version)
        raise ValueError(f"a worker has no operation {head['operation']!r}")

    def _load(self, model: Path) -> Head:
        """Load every version, as AWS's containers have TensorFlow Serving do, after the op libraries."""
        for library in (*map(Path, self._config.op_libraries), *op_libraries_in(model)):
            self._library.load_ops(library)
        for version, directory in versions(model):
            self._versions[version] = SavedModel(self._library, directory, config=self._session_config())
        latest = max(self._versions)
        if self._config.gpu and "GPU" not in self._versions[latest].device_types():
            raise TensorFlowError("FAILED_PRECONDITION", _NO_GPU)
        signatures = sorted(self._versions[latest].signatures)
        return {"version": latest, "versions": sorted(self._versions), "signatures": signatures}

    def _version(self, head: Head) -> tuple[int, SavedModel]:
        """The requested version; without one, the highest, like TensorFlow Serving."""
        requested = head["version"]
        if requested is None and self._versions:
            requested = max(self._versions)
        if requested not in self._versions:
            which = "Latest" if requested is None else "Specific"
            raise TensorFlowError("NOT_FOUND", f"Servable not found for request: {which}({head['model']}, {requested})")
        return requested, self._versions[requested]

    def _session_config(self) -> bytes:
        threads = self._config.threads or 0  # 0: TensorFlow's default
        config: Any = protos.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        if self._config.gpu:
            fraction = self._config.gpu_memory_fraction
            config.gpu_options.allow_growth = fraction is None
            config.gpu_options.per_process_gpu_memory_fraction = fraction or 0.0  # 0: TensorFlow's default
        serialised: bytes = config.SerializeToString()
        return serialised
