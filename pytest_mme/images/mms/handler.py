"""The handler that multi-model-server runs for each model: TensorFlow's Python package, TensorFlow Serving's bodies.

Before it imports TensorFlow it checks the memory that its container has left, and raises the `MemoryError` that
becomes a 507: otherwise the kernel would kill the worker. Source of what a handler is: multi-model-server 1.1.11,
`mms/model_loader.py`, `mms/model_service_worker.py` and `mms/service.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.archives.archive import versions
from pytest_mme.archives.code import op_libraries_in
from pytest_mme.errors import TensorFlowError
from pytest_mme.libtensorflow import protos
from pytest_mme.libtensorflow.signatures import Signature, read_signatures
from pytest_mme.serving import rest
from pytest_mme.serving.memory import cgroups
from pytest_mme.serving.memory.estimate import estimate
from pytest_mme.serving.statuses import STATUS

if TYPE_CHECKING:
    from pytest_mme.libtensorflow.tensors import Array

IMPORT_MIB = "PYTEST_MME_IMPORT_MIB"
"""The environment variable with the MiB that TensorFlow itself adds to a worker."""
HEADROOM_MIB = "PYTEST_MME_HEADROOM_MIB"
"""The environment variable with the MiB that a load has to leave free: Java grows, too."""

# An empty model's load with TensorFlow 2.21, four times each: with about 182 MiB left the kernel killed all,
# with 192 MiB half of them, with 202 MiB none. In between a 507 would come too late: hence the headroom.
_IMPORT_MIB = "200"
_HEADROOM_MIB = "32"
_MIB = 1 << 20
log = logging.getLogger("pytest_mme")
_TAG = "serve"


def needed_bytes(directory: Path, environment: Mapping[str, str]) -> int:
    """Return the bytes that must be free before the model in *directory* is loaded, beyond what its worker holds already.

    All versions are counted, though only the highest is loaded. Raises `ArchiveError` when there is none.
    """
    fixed = int(environment.get(IMPORT_MIB, _IMPORT_MIB)) + int(environment.get(HEADROOM_MIB, _HEADROOM_MIB))
    return fixed * _MIB + estimate(directory).bytes


def check_room(needed: int, limit: int, used: int) -> None:
    """Raise MemoryError unless *needed* bytes are left of *limit*, of which *used* are in use."""
    if needed > limit - used:
        raise MemoryError(f"the load needs {needed // _MIB} MiB; {used // _MIB} of {limit // _MIB} MiB are in use")


@contextlib.contextmanager
def room(directory: Path, cgroup: cgroups.MemoryCgroup | None) -> Iterator[None]:
    """Reserve the time to load the model in *directory*: two loads at once would count the same free bytes.

    Raises MemoryError when the model does not fit. Without a limit, models may load at the same time.
    """
    limit = cgroup.limit_bytes() if cgroup else None
    if cgroup is None or limit is None:
        yield
        return
    needed = needed_bytes(directory, os.environ)
    with Path(tempfile.gettempdir(), "pytest-mme-load.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it with the process
        try:
            check_room(needed, limit, cgroup.used_bytes())
        except MemoryError as error:
            log.warning("not loaded: %s", error)  # multi-model-server replies 507 without the reason
            raise
        yield


def _cgroup() -> cgroups.MemoryCgroup | None:
    try:
        return cgroups.own()
    except OSError:
        return None


class Model:
    """A SavedModel in TensorFlow's Python package, with the interface of `pytest_mme.libtensorflow.saved_model.SavedModel`."""

    def __init__(self, directory: Path, op_libraries: Sequence[Path] = ()) -> None:
        import tensorflow as tf

        for library in op_libraries:
            tf.load_op_library(str(library))
        self.signatures = signatures(directory)
        self._tf = tf
        self._loaded = tf.saved_model.load(str(directory), tags=[_TAG])

    def run(self, inputs: Mapping[str, Array], *, signature: str) -> dict[str, Array]:
        """Run the signature on *inputs*; returns arrays by output name."""
        definition = self.signatures[signature]
        types = {name: self._tf.as_dtype(definition.inputs[name].data_type) for name in inputs}
        tensors = {name: self._tf.constant(array, types[name]) for name, array in inputs.items()}
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except self._tf.errors.OpError as error:
            raise TensorFlowError(error.error_code, error.message) from error
        return {name: outputs[name].numpy() for name in definition.outputs}


def signatures(directory: Path) -> dict[str, Signature]:
    """Return the signatures of the SavedModel in *directory*; raises ValueError when it has no graph for serving."""
    saved_model = protos.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    for meta_graph in saved_model.meta_graphs:
        if _TAG in meta_graph.meta_info_def.tags:
            meta_graph.ClearField("graph_def")
            return read_signatures(memoryview(meta_graph.SerializeToString()))
    raise ValueError(f"no graph in {directory} has the tag {_TAG!r}")


class Service:
    """One worker's model, loaded at multi-model-server's first call and invoked by the others."""

    def __init__(self) -> None:
        self._model: Model | None = None

    def handle(self, data: list[dict[str, Any]] | None, context: Any) -> list[bytes] | None:
        """Load the model when there is no *data*, and otherwise reply to each body in it.

        multi-model-server replies 507 to a MemoryError while it loads. An invalid request gets a status of its own:
        to an exception the server would reply 503 "Prediction failed".
        """
        if self._model is None:
            directory = Path(context.system_properties["model_dir"])
            with room(directory, _cgroup()):
                self._model = Model(versions(directory)[-1][1], op_libraries_in(directory))
        if data is None:
            return None
        replies = []
        for number, request in enumerate(data):
            context.set_response_content_type(number, "application/json")
            try:
                replies.append(predict(self._model, bytes(request["body"])))
            except TensorFlowError as error:
                context.set_response_status(STATUS[error.code], error.code, number)
                replies.append(json.dumps({"error": error.message}).encode())
        return replies


def predict(model: Model, body: bytes) -> bytes:
    """Reply to a TensorFlow Serving REST *body* of the method predict; raises `TensorFlowError` for an invalid one."""
    return rest.predict(model, body)  # type: ignore[arg-type]  # it uses no more than `Model` has


handle = Service().handle
"""The entry point: a function, since multi-model-server ignores the errors of a class while it loads."""
