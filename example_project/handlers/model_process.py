"""What runs in the process of one model. TensorFlow is imported there, and not by whoever starts it."""

import os
from pathlib import Path

MODELS = Path(os.environ["SM_MODEL_DIR"])

_model = None


class UnknownModelError(Exception):
    """There is no such model; `status_code` is what the client gets."""

    status_code = 404


def folder_of(name):
    """The highest version of a model."""
    versions = sorted((MODELS / name).glob("[0-9]*"), key=lambda path: int(path.name))
    if not versions:
        raise UnknownModelError(f"there is no model {name}")
    return str(versions[-1])


def load(folder):
    """Before the first request. A process that fails here is broken: nobody gets an answer of half a model."""
    global _model
    import tensorflow as tf

    _model = tf.saved_model.load(folder)


def answer(data):
    """The predictions for one request."""
    from prediction import predict

    return predict(_model, data)
