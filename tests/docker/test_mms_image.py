"""The image of multi-model-server: the real stack, and how it runs out of memory.

Every number was measured with TensorFlow 2.21: Java and an idle server take 120 to 150 MiB, a tiny model 215.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_mme import ContractClient, Model, Models
from pytest_mme.contract import routes
from pytest_mme.errors import NoAnswerError
from pytest_mme.models.archive import extract
from pytest_mme.waiting import wait_for

URL = routes.MODELS_FOLDER + "/{}/model"


@contextlib.contextmanager
def serving(engine: docker.DockerClient, image: str, folder: Path, memory: str) -> Iterator[ContractClient]:
    """A container whose models lie in *folder*, limited to *memory*."""
    container = engine.containers.create(
        image,
        ["serve"],
        environment={routes.MULTI_MODEL: "true"},
        ports={"8080/tcp": ("127.0.0.1", 0)},
        volumes={str(folder): {"bind": routes.MODELS_FOLDER, "mode": "ro"}},
        mem_limit=memory,
        memswap_limit=memory,
    )
    with contextlib.ExitStack() as undo:
        undo.callback(container.remove, force=True, v=True)
        container.start()
        container.reload()
        port = container.ports["8080/tcp"][0]["HostPort"]  # type: ignore[index]
        client = undo.enter_context(contextlib.closing(ContractClient(f"http://127.0.0.1:{port}")))
        wait_for(lambda: pinged(client), what="multi-model-server", timeout_s=60)
        yield client


def pinged(client: ContractClient) -> bool | None:
    with contextlib.suppress(NoAnswerError):
        return client.ping().ok or None
    return None


def load(client: ContractClient, model: Model, folder: Path) -> int:
    extract(model.archive, folder / model.name / "model")
    return client.load(model.name, URL.format(model.name)).status


def predictions(client: ContractClient, model: Model) -> Any:
    return client.invoke(model.name, b'{"instances": [[1.5]]}').expect("invoke").json()["predictions"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def test_models_answer_until_the_container_is_full(
    engine: docker.DockerClient, mms_image: str, mme_models: Models, folder: Path
) -> None:
    a, b, c = (mme_models.linear(name=name) for name in "abc")
    with serving(engine, mms_image, folder, "700m") as client:
        assert [load(client, model, folder) for model in (a, b, c)] == [200, 200, 507]
        assert [predictions(client, model) for model in (a, b)] == [[model.answer([1.5])] for model in (a, b)]
        assert client.load(c.name, URL.format(c.name)).status == 409  # a ghost, until it is unloaded
        assert client.invoke(c.name, b"{}").status == 503
        assert [client.unload(model.name).status for model in (c, a)] == [200, 200]
        assert client.load(c.name, URL.format(c.name)).status == 200
        assert predictions(client, c) == [c.answer([1.5])]


def test_what_the_kernel_kills_is_one_500_and_comes_back(
    engine: docker.DockerClient, mms_image: str, mme_models: Models, folder: Path
) -> None:
    calm, greedy = mme_models.linear(name="calm"), mme_models.linear(name="greedy", allocate_mib=600)
    with serving(engine, mms_image, folder, "700m") as client:
        assert [load(client, model, folder) for model in (calm, greedy)] == [200, 200]
        killed = client.invoke(greedy.name, b'{"instances": [[1.5]]}')
        assert (killed.status, killed.json()["message"]) == (500, "Worker died.")
        assert client.ping().ok
        assert predictions(client, calm) == [calm.answer([1.5])]
        refused = client.invoke(greedy.name, b"{}")  # waits for the worker that takes the dead one's place
        assert (refused.status, refused.json()["message"]) == (503, "Prediction failed")
