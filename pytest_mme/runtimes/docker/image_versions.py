"""Which TensorFlow an image serves with: read from its label, or found out in a container."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_mme.errors import UnavailableError
from pytest_mme.images.build import TENSORFLOW
from pytest_mme.runtimes.docker.engine import first_line

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

_SCRIPT = """
tensorflow_model_server --version 2>&1
for python in python3 python; do
    for wheel in tensorflow tensorflow-cpu tensorflow-gpu intel-tensorflow; do
        $python -c "from importlib import metadata; print('TensorFlow Library:', metadata.version('$wheel'))" 2>/dev/null
    done
done
exit 0
"""
_VERSION = re.compile(r"TensorFlow Library: (\d+\.\d+\.\d+\S*)")
"""TensorFlow Serving prints it first: that is what serves where there is a Python package, too (tensorflow/serving#1134)."""


def tensorflow_in(engine: docker.DockerClient, image: Image) -> str:
    """The version, as in ``2.19.1``; raises `UnavailableError` where nothing in the image shows it.

    Without the label a container runs for a moment, without a network, and is removed.
    """
    from docker.errors import APIError, ContainerError

    if label := image.labels.get(TENSORFLOW):
        return str(label)
    asked = f"the TensorFlow of the image {', '.join(image.tags) or image.id}"
    try:
        printed = engine.containers.run(
            image, [_SCRIPT], entrypoint=["sh", "-c"], network_mode="none", remove=True, stderr=True
        )
    except (APIError, ContainerError) as error:
        raise UnavailableError(asked, first_line(error), "say which it is: --tf VERSION") from error
    if found := _VERSION.search(printed.decode(errors="replace")):
        return found[1]
    seen = "neither tensorflow_model_server nor a Python package of TensorFlow is in it"
    raise UnavailableError(asked, seen, "say which it is: --tf VERSION")
