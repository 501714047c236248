"""SavedModels that need TensorFlow's Python package, in a process of its own: ``python -m pytest_mme.models.exporting.build <folder>``.

It listens on the Unix socket ``<folder>/build.sock``, handles one request after another, and ends when its standard
input closes: that is the lifeline of the process that started it. `process.py` is the other end.

It also runs with the Python and the TensorFlow of another environment (`environments.py`), from 2.8 on, which has none
of this package's dependencies: this module and those that it imports import only the standard library, TensorFlow,
Keras and numpy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.models.exporting.answering import answer_all
from pytest_mme.models.exporting.freeze import RefusedError, freeze
from pytest_mme.models.spec import ModelSpec

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

REFUSED = "refused: "
_WAITING = 64  # clients that may queue; the default of 1 refuses the workers of a large run


@contextlib.contextmanager
def socket_in(directory: Path) -> Iterator[str]:
    """Yield the socket's path in *directory*, of any length, though the kernel takes 107 bytes of path at most."""
    if not sys.platform.startswith("linux"):
        yield str(directory / "build.sock")
        return
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/build.sock"
    finally:
        os.close(opened)


def request(specs: list[ModelSpec], target: Path) -> bytes:
    """Return the request to build each of *specs* into ``<target>/<its index>/<version>/``."""
    fields = [dataclasses.asdict(spec) for spec in specs]
    return json.dumps({"specs": fields, "target": str(target)}, default=bytes.hex).encode()


def freeze_request(source: Path, target: Path, inputs: Mapping[str, Any] | None, tolerance: float) -> bytes:
    """Return the request to freeze the SavedModel *source* into the folder *target*, as `freeze.freeze` does."""
    fields = {"source": str(source), "target": str(target), "inputs": inputs, "tolerance": tolerance}
    return json.dumps({"freeze": fields}).encode()


def answers_request(source: Path, inputs: Sequence[Any], target: Path) -> bytes:
    """Return the request to ask the SavedModel *source* for *inputs*, as `answering.answer_all` does."""
    return json.dumps({"answers": {"source": str(source), "inputs": inputs, "target": str(target)}}).encode()


def main(directory: Path) -> None:
    """Listen in *directory* and build until the lifeline closes."""
    os.umask(0o077)  # only this user may connect
    threading.Thread(target=_end_with_lifeline, daemon=True).start()
    with socket_in(directory) as address, Listener(address, "AF_UNIX", backlog=_WAITING) as listener:
        while True:
            with listener.accept() as connection, contextlib.suppress(EOFError, OSError):  # the client may be gone
                connection.send_bytes(_handle(json.loads(connection.recv_bytes())).encode())


def _end_with_lifeline() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # at once: the process that wanted a model is gone. The socket stays, and refuses connections


def _handle(request: dict[str, Any]) -> str:
    """Do what was requested; return "", the traceback of an error, or `REFUSED` and why it is not possible."""
    try:
        if "freeze" in request:
            freeze(**request["freeze"])
            return ""
        if "answers" in request:
            answer_all(**request["answers"])
            return ""
        for number, fields in enumerate(request["specs"]):
            handler = tuple((name, bytes.fromhex(content)) for name, content in fields["handler"])
            build(ModelSpec(**{**fields, "handler": handler}), Path(request["target"], str(number)))
    except RefusedError as error:
        return f"{REFUSED}{error}"
    except Exception:  # noqa: BLE001 - whatever it is, the client must get it, and the next request be handled
        return traceback.format_exc()
    return ""


def build(spec: ModelSpec, directory: Path) -> None:
    """Save *spec* into ``<directory>/<version>/`` for each of its versions, with the TensorFlow of this process."""
    save = _save_keras if spec.kind == "keras" else _save_module
    for version in spec.versions:
        save(spec, version, str(directory / str(version)))


def _save_keras(spec: ModelSpec, version: int, path: str) -> None:
    import keras

    keras.backend.clear_session()
    model = keras_model(spec, version)
    if tuple(map(int, keras.__version__.split(".")[:2])) >= (2, 13):
        model.export(path)
    else:  # before 2.12 there is no `export`, and in 2.12 it calls the input args_0
        import tensorflow as tf

        tf.saved_model.save(model, path)


def keras_model(spec: ModelSpec, version: int) -> keras.Model:
    """Return a dense layer with the line of *spec*, beside a layer for its identity and its weights.

    The layers have the names of the outputs: Keras 2, saved by `tf.saved_model.save`, names the outputs after layers.
    """
    import keras
    import numpy as np

    x = keras.Input((1,), name="x")
    dense = keras.layers.Dense(1, name="y")
    outputs = {"identity": _signed(spec, version)(x), "y": dense(x)}
    slope, intercept = spec.line(version)
    dense.set_weights([np.array([[slope]], np.float32), np.array([intercept], np.float32)])
    return keras.Model(x, outputs)


def _signed(spec: ModelSpec, version: int) -> keras.layers.Layer:
    import keras

    class Signed(keras.layers.Layer):  # type: ignore[misc]  # Keras comes without types
        """Outputs the model's identity, and has its weights."""

        def build(self, _shape: object) -> None:
            if count := _ballast(spec):
                self.add_weight(name="ballast", shape=(count,), initializer="ones", dtype="float32")

        def call(self, x: tf.Tensor) -> tf.Tensor:
            return _identity(spec.identity(version), x)

        def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
            # Keras 3 cannot infer it by running it: it has no strings.
            return keras.KerasTensor((x.shape[0],), dtype="string")

    return Signed(name="identity")


def _save_module(spec: ModelSpec, version: int, path: str) -> None:
    import tensorflow as tf

    module = tf.Module()
    if count := _ballast(spec):
        module.ballast = tf.Variable(tf.ones([count]), trainable=False)
    if spec.kind == "counter":
        module.count = tf.Variable(0.0, trainable=False)
    functions = {signature: _function(spec, version, signature, module) for signature in spec.signatures}
    tf.saved_model.save(module, path, signatures=functions)


def _function(
    spec: ModelSpec, version: int, signature: str, module: tf.Module
) -> tf.types.experimental.GenericFunction:
    """Return what *signature* computes: the same as in `writing/saved_model.py`."""
    import tensorflow as tf

    identity = spec.identity(version, signature)

    def value(x: tf.Tensor) -> tf.Tensor:
        if spec.kind == "text":
            return tf.strings.join([f"{identity}: ", x])
        if spec.kind == "counter":
            after_each = module.count + tf.cumsum(tf.reduce_sum(x, 1, keepdims=True))
            module.count.assign_add(tf.reduce_sum(x))
            return after_each
        slope, intercept = spec.line(version, signature)
        return slope * x + intercept

    takes = tf.TensorSpec([None], tf.string) if spec.kind == "text" else tf.TensorSpec([None, None], tf.float32)

    @tf.function(input_signature=[takes], autograph=False)  # type: ignore[untyped-decorator]
    def predict(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"identity": _identity(identity, x), "y": value(x)}

    return predict


def _identity(identity: str, x: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.fill([tf.shape(x)[0]], identity)


def _ballast(spec: ModelSpec) -> int:
    """Return how many numbers of four bytes the weights are."""
    return spec.weights_mib * (1 << 20) // 4


if __name__ == "__main__":
    main(Path(sys.argv[1]))
