"""Freezes a SavedModel's variables into constants and lets Grappler rewrite its graph, in the building process.

It runs with the TensorFlow of another environment, too: see `build.py`. The functions that it takes from TensorFlow's
insides are where they are from 2.8 to 2.21.
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
_GIVE = "give inputs= that it answers"
_UNFIT = {
    "it writes its variables": r"Assign|ResourceScatter|Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)$",
    "it has lookup tables, which are filled when it is loaded": r"LookupTable|.*HashTable",
    "it reads files": "ReadFile$",
}
_SAID_CHARACTERS = 300


class RefusedError(Exception):
    """This model cannot be optimised; says why."""


def freeze(source: str, target: str, inputs: Mapping[str, Any] | None, tolerance: float) -> None:
    """Write the SavedModel *source*, frozen and rewritten, to *target*; it answers *inputs* as before, by name.

    Without *inputs* it is asked for made-up numbers. Floats may differ by *tolerance*, of themselves or absolutely.
    Raises `RefusedError`.
    """
    with contextlib.closing(_Loaded(source)) as before:
        if why := before.unfit():
            raise RefusedError(why)
        asked = {name: before.sample(name, inputs) for name in before.signatures}
        answers = before.answers(asked)
        if not answers or (DEFAULT_SIGNATURE in asked and DEFAULT_SIGNATURE not in answers):
            raise RefusedError(_unanswered(before.failures, "the" if inputs else "made-up"))
        _save(_rewritten(before.frozen(), before.signatures), before.signatures, target)
    with contextlib.closing(_Loaded(target)) as after:
        again = after.answers({name: asked[name] for name in answers})
    for name, answer in answers.items():
        if name not in again:
            raise RefusedError(f"{name} no longer answers: {after.failures[name]}")
        _compare(name, answer, again[name], tolerance)


def _unanswered(failures: Mapping[str, str], which: str) -> str:
    failure = failures.get(DEFAULT_SIGNATURE) or next(iter(failures.values()), "it has no signature")
    return f"the model does not answer {which} inputs: {failure}; {_GIVE}"


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
        """Why signatures did not answer."""

    def close(self) -> None:
        """Give back what it takes."""
        self._session.close()

    def unfit(self) -> str:
        """Why answering takes more than constants; empty when it does not."""
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
        """What to feed a signature: *inputs* where they are given for just its names."""
        import tensorflow as tf

        taken = self.signatures[signature].inputs
        if any(not info.name for info in taken.values()):
            raise RefusedError(f"an input of {signature} is no plain tensor")
        types = {name: tf.as_dtype(info.dtype) for name, info in taken.items()}
        if inputs is not None and set(inputs) == set(taken):
            return {taken[name].name: _array(inputs[name], types[name]) for name in taken}
        shapes = {name: self._graph.get_tensor_by_name(info.name).shape for name, info in taken.items()}
        return {info.name: _made_up(types[name], shapes[name]) for name, info in taken.items()}

    def answers(self, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
        """What each signature answers, those that do: some may not take what was made up."""
        import tensorflow as tf

        found = {}
        for name, fed in asked.items():
            fetched = {key: info.name for key, info in self.signatures[name].outputs.items()}
            try:
                found[name] = self._session.run(fetched, dict(fed))
            except (tf.errors.OpError, ValueError, TypeError) as error:
                self.failures[name] = _first_line(error)
        return found

    def frozen(self) -> Any:
        """The graph that answers all signatures, with constants in place of variables."""
        from tensorflow.python.framework import convert_to_constants

        try:
            return convert_to_constants.convert_variables_to_constants_from_session_graph(
                self._session, self._graph.as_graph_def(), _answering(self.signatures)
            )
        except Exception as error:  # whatever it meets that is no variable that is only read
            raise RefusedError(f"TensorFlow cannot freeze it: {type(error).__name__}: {_first_line(error)}") from error


def _answering(signatures: Mapping[str, Any]) -> list[str]:
    tensors = (info.name for signature in signatures.values() for info in signature.outputs.values())
    return sorted({tensor.partition(":")[0] for tensor in tensors})


def _rewritten(graph: Any, signatures: Mapping[str, Any]) -> Any:
    """The graph as Grappler leaves it, with all that it does by default."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=whole)
    for name, signature in signatures.items():
        meta_graph.signature_def[name].CopyFrom(signature)
    meta_graph.collection_def["train_op"].node_list.value.extend(_answering(signatures))
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


def _made_up(dtype: tf.DType, shape: tf.TensorShape) -> np.ndarray[Any, Any]:
    """The same each time; where no rank is known, a vector."""
    import numpy as np

    known = [None] if shape.rank is None else shape.as_list()
    dims = [(_COLUMNS if place else _ROWS) if size is None else size for place, size in enumerate(known)]
    numbers = np.random.default_rng(0)
    if dtype == "string":
        return np.full(dims, b"a text", object)
    if dtype.is_floating:
        return numbers.normal(size=dims).astype(dtype.as_numpy_dtype)
    return numbers.integers(0, 2, size=dims).astype(dtype.as_numpy_dtype)


def _array(value: Any, dtype: tf.DType) -> np.ndarray[Any, Any]:
    """Bytes are written as TensorFlow Serving writes them: ``{"b64": "…"}``."""
    import numpy as np

    return np.array(_decoded(value), object if dtype == "string" else dtype.as_numpy_dtype)


def _decoded(value: Any) -> Any:
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
            by = f"by up to {np.max(np.abs(value - after[key])):g}, and may by {tolerance:g}"
        elif np.array_equal(value, after[key]):
            continue
        else:
            by = "from what it was"
        raise RefusedError(f"its answer differs: {key} of {signature} {by}")


def _first_line(error: Exception) -> str:
    said = [line.strip() for line in str(getattr(error, "message", "") or error).splitlines() if line.strip()]
    if said and said[0].endswith("execution error:"):  # a session says where before it says what
        said = [line for line in said[1:] if not line.startswith(("Detected at", "Node:"))]
    return (said or [type(error).__name__])[0][:_SAID_CHARACTERS]
