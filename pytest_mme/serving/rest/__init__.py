"""TensorFlow Serving's REST bodies to tensors and back.

Source: TensorFlow Serving, "RESTful API", and its code of 2022 and later: `util/json_tensor.cc`,
`model_servers/http_rest_api_util.cc`, `servables/tensorflow/` `predict_util.cc`, `classifier.cc` and `regressor.cc`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_mme.libtensorflow.saved_model import SavedModel
from pytest_mme.serving.rest.about import metadata, status
from pytest_mme.serving.rest.examples import classify, regress
from pytest_mme.serving.rest.prediction import predict

__all__ = ["METHODS", "classify", "metadata", "predict", "regress", "status"]

METHODS: Mapping[str, Callable[[SavedModel, bytes], bytes]] = {
    "predict": predict,
    "classify": classify,
    "regress": regress,
}
"""Each takes a loaded model and a request's body, and returns the reply's body or raises `TensorFlowError`."""
