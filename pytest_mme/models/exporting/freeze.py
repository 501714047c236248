"""Freezes a SavedModel's variables into constants and lets Grappler rewrite its graph, in the building process.

It runs with the TensorFlow of another environment, too: see `build.py`. TensorFlow's private functions that it uses are
at the same place from 2.8 to 2.21.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_mme.archives.reachability import reached_functions, reached_nodes, signature_outputs
from pytest_mme.models.spec import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

_SERVE = "serve"
_ROWS, _COLUMNS = 2, 8
_UNFIT = {
    "it writes its variables": r"Assign|ResourceScatter|Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)$",
    "it has lookup tables, which are filled when it is loaded": r"LookupTable|.*HashTable",
    "it reads files": "ReadFile$",
}
_MESSAGE_CHARACTERS = 300


class RefusedError(Exception):
    """This model cannot be optimised, for the reason in the message."""


def freeze(source: str, target: str, inputs: Mapping[str, Any] | None, tolerance: float) -> None:
    """Write the SavedModel *source*, frozen and rewritten, to *target*, and check that it predicts as before.

    *inputs* are values by the names of the inputs; without them the check uses random numbers. Floats may differ by
    *tolerance*, relatively or absolutely. Raises `RefusedError` when the model cannot be frozen, or predicts otherwise.
    """
    with contextlib.closing(_Loaded(source)) as before:
        if why := before.unfit():
            raise RefusedError(why)
        fed = {name: before.sample(name, inputs) for name in before.signatures}
        predictions = before.predictions(fed)
        if not predictions or (DEFAULT_SIGNATURE in fed and DEFAULT_SIGNATURE not in predictions):
            failure = before.failures.get(DEFAULT_SIGNATURE) or next(
                iter(before.failures.values()), "it has no signature"
            )
            which = "the" if inputs else "random"
            raise RefusedError(f"the model does not accept {which} inputs: {failure}; give inputs= that it accepts")
        _save(_rewritten(before.frozen(), before.signatures), before.signatures, target)
    with contextlib.closing(_Loaded(target)) as after:
        again = after.predictions({name: fed[name] for name in predictions})
    for name, prediction in predictions.items():
        if name not in again:
            raise RefusedError(f"{name} fails afterwards: {after.failures[name]}")
        _compare(name, prediction, again[name], tolerance)


class _Loaded:
    """A SavedModel in a session."""

    def __init__(self, path: str) -> None:
        import tensorflow as tf

        self._graph = tf.Graph()
        with self._graph.as_default():
            self._session = tf.compat.v1.Session()
            loaded = tf.compat.v1.saved_model.loader.load(self._session, [_SERVE], path)
        self._loaded = loaded
        self.signatures = {name: one for name, one in loaded.signature_def.items() if not name.startswith("__saved")}
        self.failures: dict[str, str] = {}
        """The errors of signatures, by name."""

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def unfit(self) -> str:
        """Return why predictions need more than constants; empty when they do not."""
        nodes = reached_nodes(self._loaded, signature_outputs(self._loaded))
        running = [node for node in self._loaded.graph_def.node if node.name in nodes]
        functions = reached_functions(self._loaded, running)
        library = self._loaded.graph_def.library.function
        ops = {node.op for node in running}
        ops.update(
            node.op for function in library if function.signature.name in functions for node in function.node_def
        )
        for why, pattern in _UNFIT.items():
            if found := sorted(filter(re.compile(pattern).match, ops)):
                return f"{why}: {', '.join(found)}"
        return ""

    def sample(self, signature: str, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what to feed a signature: *inputs*, if they have exactly the names of its inputs, or else random numbers."""
        import numpy as np
        import tensorflow as tf

        taken = self.signatures[signature].inputs
        if any(not info.name for info in taken.values()):
            raise RefusedError(f"an input of {signature} is not a plain tensor")
        types = {name: tf.as_dtype(info.dtype) for name, info in taken.items()}
        if inputs is not None and set(inputs) == set(taken):
            kinds = {name: object if dtype == "string" else dtype.as_numpy_dtype for name, dtype in types.items()}
            return {taken[name].name: np.array(_decoded(inputs[name]), kinds[name]) for name in taken}
        shapes = {name: self._graph.get_tensor_by_name(info.name).shape for name, info in taken.items()}
        return {info.name: _random(types[name], shapes[name]) for name, info in taken.items()}

    def predictions(self, fed: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """Return what each signature predicts; `failures` has those that do not accept what they are fed."""
        import tensorflow as tf

        found = {}
        for name, tensors in fed.items():
            fetched = {key: info.name for key, info in self.signatures[name].outputs.items()}
            try:
                found[name] = self._session.run(fetched, dict(tensors))
            except (tf.errors.OpError, ValueError, TypeError) as error:
                self.failures[name] = _first_line(error)
        return found

    def frozen(self) -> Any:
        """Return the graph of all signatures, with constants in place of variables."""
        from tensorflow.python.framework import convert_to_constants

        try:
            return convert_to_constants.convert_variables_to_constants_from_session_graph(
                self._session, self._graph.as_graph_def(), _outputs(self.signatures)
            )
        except Exception as error:  # for anything but a variable that is only read
            raise RefusedError(f"TensorFlow cannot freeze it: {type(error).__name__}: {_first_line(error)}") from error


def _outputs(signatures: Mapping[str, Any]) -> list[str]:
    tensors = (info.name for signature in signatures.values() for info in signature.outputs.values())
    return sorted({tensor.partition(":")[0] for tensor in tensors})


def _rewritten(graph: Any, signatures: Mapping[str, Any]) -> Any:
    """Return the graph as Grappler rewrites it with its default passes."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=whole)
    for name, signature in signatures.items():
        meta_graph.signature_def[name].CopyFrom(signature)
    meta_graph.collection_def["train_op"].node_list.value.extend(_outputs(signatures))
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # however small it is
    return tf_optimizer.OptimizeGraph(config, meta_graph, verbose=False)


def _save(graph: Any, signatures: Mapping[str, Any], target: str) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph, name="")
        builder = v1.saved_model.Builder(target)
        builder.add_meta_graph_and_variables(
            session, [_SERVE], signature_def_map=dict(signatures), strip_default_attrs=True
        )
        builder.save()


def _random(dtype: tf.DType, shape: tf.TensorShape) -> np.ndarray[Any, Any]:
    """Return the same numbers each time; a vector where the rank is unknown."""
    import numpy as np

    known = [None] if shape.rank is None else shape.as_list()
    dims = [(_COLUMNS if place else _ROWS) if size is None else size for place, size in enumerate(known)]
    numbers = np.random.default_rng(0)
    if dtype == "string":
        return np.full(dims, b"a text", object)
    if dtype.is_floating:
        return numbers.normal(size=dims).astype(dtype.as_numpy_dtype)
    return numbers.integers(0, 2, size=dims).astype(dtype.as_numpy_dtype)


def _decoded(value: Any) -> Any:
    """Return a JSON value with bytes in place of TensorFlow Serving's form of them, ``{"b64": "…"}``."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _compare(
    signature: str,
    before: Mapping[str, np.ndarray[Any, Any]],
    after: Mapping[str, np.ndarray[Any, Any]],
    tolerance: float,
) -> None:
    import numpy as np

    for key, value in before.items():
        is_real = np.issubdtype(value.dtype, np.floating)
        if is_real and np.allclose(value, after[key], rtol=tolerance, atol=tolerance, equal_nan=True):
            continue
        if is_real and value.shape == after[key].shape:
            by = f"by up to {np.max(np.abs(value - after[key])):g}, more than {tolerance:g}"
        elif np.array_equal(value, after[key]):
            continue
        else:
            by = "from what it was"
        raise RefusedError(f"its prediction differs: {key} of {signature} {by}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(getattr(error, "message", "") or error).splitlines() if line.strip()]
    if lines and lines[0].endswith("execution error:"):  # a session names the place before the error
        lines = [line for line in lines[1:] if not line.startswith(("Detected at", "Node:"))]
    return (lines or [type(error).__name__])[0][:_MESSAGE_CHARACTERS]
