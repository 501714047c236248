"""The second way: nothing is kept, and each request loads its model."""

from prediction import load, predict


def inference_handler(data, model_name):
    return predict(load(model_name), data)
