"""The TensorFlow of an image is looked up in it."""

from __future__ import annotations

import json
from collections.abc import Callable

import docker
import pytest
from typer.testing import CliRunner, Result

from pytest_mme import Models, versions
from pytest_mme.cli import app
from pytest_mme.errors import UnavailableError
from pytest_mme.images.build import TENSORFLOW
from pytest_mme.runtimes.docker.engine import find_image
from pytest_mme.runtimes.docker.image_versions import tensorflow_in

UNLABELLED = f'LABEL {TENSORFLOW}=""'
SAYS = 'printf "#!/bin/sh\\necho TensorFlow ModelServer: 2.10.0-dev\\necho TensorFlow Library: 2.11.1\\n"'
SERVING = f"RUN {SAYS} > /usr/local/bin/tensorflow_model_server && chmod +x /usr/local/bin/tensorflow_model_server"
"""TensorFlow Serving cannot be had here: it says what was written of it (tensorflow/serving#1134)."""


def doctor(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_the_kits_images_are_labelled_with_the_version(engine: docker.DockerClient, image: str) -> None:
    assert tensorflow_in(engine, find_image(engine, image, "never")) == versions.installed()


def test_the_version_of_a_python_package_is_found(
    engine: docker.DockerClient, derived: Callable[..., str], mms_image: str
) -> None:
    image = find_image(engine, derived(UNLABELLED, base=mms_image), "never")
    assert tensorflow_in(engine, image) == versions.installed()


def test_the_version_of_tensorflow_serving_comes_first(
    engine: docker.DockerClient, derived: Callable[..., str], mms_image: str
) -> None:
    image = find_image(engine, derived(UNLABELLED, "USER root", SERVING, base=mms_image), "never")
    assert tensorflow_in(engine, image) == "2.11.1"


def test_an_image_without_a_version_is_refused(engine: docker.DockerClient, derived: Callable[..., str]) -> None:
    image = find_image(engine, derived(UNLABELLED), "never")
    with pytest.raises(UnavailableError, match="neither tensorflow_model_server nor a Python package"):
        tensorflow_in(engine, image)


def test_archives_are_examined_for_the_images_version(
    mme_models: Models, derived: Callable[..., str], server_image: str
) -> None:
    archive = mme_models.forge(mme_models.linear(), "op-decode-webp").archive
    old = derived(UNLABELLED, "USER root", SERVING)
    done = doctor(archive, "--image", old, "--image", server_image, "--tf", "2.11.1", "--json")
    assert done.exit_code == 1
    reported = json.loads(done.output)
    assert reported["serving"] == ["2.11.1", versions.installed()]
    (finding,) = reported["archives"][str(archive)]["findings"]
    assert (finding["code"], finding["tensorflow"]) == ("MME303", "2.11.1")


def test_an_image_that_is_not_multi_model_is_reported(mme_models: Models, derived: Callable[..., str]) -> None:
    done = doctor(
        mme_models.linear().archive, "--image", derived("LABEL com.amazonaws.sagemaker.capabilities.multi-models=")
    )
    assert done.exit_code == 1
    assert "add to its Dockerfile: LABEL com.amazonaws.sagemaker.capabilities.multi-models=true" in done.output


@pytest.mark.usefixtures("engine")
def test_a_missing_image_is_reported(mme_models: Models) -> None:
    done = doctor(mme_models.linear().archive, "--image", "pytest-mme-server:9.9.9")
    assert done.exit_code == 1
    assert "pytest-mme image build server --tf 9.9.9" in done.output
