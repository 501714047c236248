"""The first way: every model is loaded when the module is imported, into globals, and the request's name picks one."""

from prediction import MODELS, load, predict

LOADED = {folder.name: load(folder.name) for folder in MODELS.iterdir()}


def inference_handler(data, model_name):
    return predict(LOADED[model_name], data)
