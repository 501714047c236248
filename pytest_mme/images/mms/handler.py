"""What multi-model-server runs for each model: TensorFlow's Python package behind TensorFlow Serving's REST bodies.

It looks at the memory that its container has left before it imports TensorFlow, and raises the `MemoryError` that
becomes a 507: the kernel's own way to say no is a SIGKILL. Source of what a handler is: multi-model-server 1.1.11,
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
from pytest_mme.serving.rest.statuses import STATUS

if TYPE_CHECKING:
    from pytest_mme.libtensorflow.tensors import Array

IMPORT_MIB = "PYTEST_MME_IMPORT_MIB"
"""The environment variable that says how many MiB TensorFlow itself adds to a worker."""
HEADROOM_MIB = "PYTEST_MME_HEADROOM_MIB"
"""The environment variable that says how many MiB a load has to leave free: Java grows, too."""

# An empty model's load with TensorFlow 2.21, four times each: of those that had about 182 MiB the kernel killed all,
# with 192 MiB half of them, with 202 MiB none. Where it goes either way a 507 would not come in time: hence headroom.
_IMPORT_MIB = "200"
_HEADROOM_MIB = "32"
_MIB = 1 << 20
_LOG = logging.getLogger("pytest_mme")
_TAG = "serve"


def needed_bytes(directory: Path, environment: Mapping[str, str]) -> int:
    """What must be free before the model in *directory* is loaded, beyond what its worker has taken by now.

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
    """A time in which the model in *directory* may be loaded, and no other: two at once would count the same bytes.

    Raises MemoryError when it does not fit. Without a limit any number may be loaded at once.
    """
    limit = cgroup.limit_bytes() if cgroup else None
    if cgroup is None or limit is None:
        yield
        return
    needed = needed_bytes(directory, os.environ)
    with Path(tempfile.gettempdir(), "pytest-mme-load.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel drops it with the process
        try:
            check_room(needed, limit, cgroup.used_bytes())
        except MemoryError as error:
            _LOG.warning("not loaded: %s", error)  # multi-model-server answers 507 and says to nobody why
            raise
        yield


def _cgroup() -> cgroups.MemoryCgroup | None:
    try:
        return cgroups.own()
    except OSError:
        return None


class Model:
    """A SavedModel in TensorFlow's Python package, to be asked like a `pytest_mme.libtensorflow.saved_model.SavedModel`."""

    def __init__(self, directory: Path, op_libraries: Sequence[Path] = ()) -> None:
        import tensorflow as tf

        for library in op_libraries:
            tf.load_op_library(str(library))
        self.signatures = signatures(directory)
        self._tf = tf
        self._loaded = tf.saved_model.load(str(directory), tags=[_TAG])

    def run(self, inputs: Mapping[str, Array], *, signature: str) -> dict[str, Array]:
        """Answer *inputs* with arrays by output name."""
        asked = self.signatures[signature]
        tensors = {name: self._tensor(array, asked.inputs[name].data_type) for name, array in inputs.items()}
        try:
            outputs = self._loaded.signatures[signature](**tensors)
        except self._tf.errors.OpError as error:
            raise TensorFlowError(error.error_code, error.message) from error
        return {name: outputs[name].numpy() for name in asked.outputs}

    def _tensor(self, array: Array, data_type: int) -> Any:
        return self._tf.constant(array, self._tf.as_dtype(data_type))


def signatures(directory: Path) -> dict[str, Signature]:
    """What the SavedModel in *directory* can be asked; ValueError when none of its graphs is for serving."""
    saved_model = protos.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    for meta_graph in saved_model.meta_graphs:
        if _TAG in meta_graph.meta_info_def.tags:
            meta_graph.ClearField("graph_def")
            return read_signatures(memoryview(meta_graph.SerializeToString()))
    raise ValueError(f"no graph in {directory} has the tag {_TAG!r}")


class Service:
    """One worker's model, loaded when multi-model-server first calls and asked from then on."""

    def __init__(self) -> None:
        self._model: Model | None = None

    def handle(self, data: list[dict[str, Any]] | None, context: Any) -> list[bytes] | None:
        """Load the model when there is no *data*, and otherwise answer each body in it.

        multi-model-server answers 507 to a MemoryError while it loads. What a request does wrong gets a status of its
        own: to what is raised, the server answers 503 "Prediction failed".
        """
        if self._model is None:
            directory = Path(context.system_properties["model_dir"])
            with room(directory, _cgroup()):
                self._model = Model(versions(directory)[-1][1], op_libraries_in(directory))
        if data is None:
            return None
        return [_answered(self._model, bytes(request["body"]), number, context) for number, request in enumerate(data)]


def _answered(model: Model, body: bytes, number: int, context: Any) -> bytes:
    context.set_response_content_type(number, "application/json")
    try:
        return answer(model, body)
    except TensorFlowError as error:
        context.set_response_status(STATUS[error.code], error.code, number)
        return json.dumps({"error": error.message}).encode()


def answer(model: Model, body: bytes) -> bytes:
    """The answer to a TensorFlow Serving REST *body* of the method predict; `TensorFlowError` says what is wrong with it."""
    return rest.predict(model, body)  # type: ignore[arg-type]  # it asks for no more than `Model` has


handle = Service().handle
"""What the server calls: a function raises what goes wrong while it loads, where a class's errors are passed over."""
