"""Asks a SavedModel by TensorFlow's own Python package, in the building process, what servers are asked over HTTP.

It runs with the TensorFlow of another environment, too: see `build.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme.models.exporting.freeze import RefusedError
from pytest_mme.models.spec import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    import tensorflow as tf

_ROUNDS = 2
_MESSAGE_CHARACTERS = 300


def answer_all(source: str, inputs: Sequence[Any], target: str) -> None:
    """Write what the SavedModel *source* predicts for each of *inputs*, asked one after the other, to the file *target*.

    *inputs* and predictions are instances in TensorFlow Serving's row format. All are asked twice: the file holds a JSON
    list of both rounds. Raises `RefusedError` when the model lacks ``serving_default`` or refuses an input.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(source)
    signature = loaded.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        raise RefusedError(f"it has no signature {DEFAULT_SIGNATURE}")
    rounds = [[_prediction(signature, x) for x in inputs] for _ in range(_ROUNDS)]
    Path(target).write_text(json.dumps(rounds))


def _prediction(signature: Any, x: Any) -> Any:
    """What *signature* predicts for *x*: a value, or an object when there are several outputs."""
    import tensorflow as tf

    try:
        outputs = signature(**_tensors(signature.structured_input_signature[1], x))
    except (tf.errors.OpError, ValueError, TypeError) as error:
        lines = str(getattr(error, "message", "") or error).strip().splitlines() or [type(error).__name__]
        raise RefusedError(f"it refuses x = {json.dumps(x)[:_MESSAGE_CHARACTERS]}: {lines[0]}") from error
    values = {name: _first(name, tensor) for name, tensor in outputs.items()}
    return next(iter(values.values())) if len(values) == 1 else values


def _tensors(specs: Mapping[str, tf.TensorSpec], x: Any) -> dict[str, tf.Tensor]:
    """Return the tensors of one instance, by the names of the inputs."""
    import tensorflow as tf

    named = isinstance(x, dict) and set(x) != {"b64"}
    values = x if named else dict.fromkeys(specs, x)
    if set(values) != set(specs) or not (named or len(specs) == 1):
        raise ValueError(f"it takes an object with {', '.join(sorted(specs))}")
    return {name: tf.constant([_decoded(values[name])], spec.dtype) for name, spec in specs.items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _first(name: str, tensor: tf.Tensor) -> Any:
    """Return the first row of an output, for JSON. Strings become base64 when the *name* ends in ``_bytes``."""
    import tensorflow as tf

    if tensor.shape.rank == 0:
        raise RefusedError(f"its output {name} is a scalar, not one prediction for each instance")
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    return _written(name, tensor.numpy().tolist()[0])


def _written(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_written(name, one) for one in value]
    if not isinstance(value, bytes):
        return value
    return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode(errors="replace")
