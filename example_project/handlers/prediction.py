"""What the four handlers have in common: how a loaded model is asked. They differ in when and where they load it."""

import tensorflow as tf
from model_process import MODELS, folder_of

__all__ = ["MODELS", "load", "predict"]


def load(name):
    """Loads a model into this process."""
    return tf.saved_model.load(folder_of(name))


def predict(model, data):
    """The predictions for `{"instances": [...]}`."""
    outputs = model.signatures["serving_default"](x=tf.constant(data["instances"], tf.float32))
    columns = {name: _plain(tensor.numpy()) for name, tensor in outputs.items()}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _plain(array):
    """Numbers and texts, as JSON has them."""
    return [value.decode() for value in array] if array.dtype == object else array.tolist()
