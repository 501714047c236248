"""What a container is created with, and where its image comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from docker.errors import ImageNotFound

from pytest_mme.contract import routes
from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.docker import creation
from pytest_mme.runtimes.docker.engine import find_image
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.serving.config import ServingConfig


def settings(spec: ServerSpec, device: str = "cpu") -> ServingConfig:
    """The settings that an embedded server in a container gets."""
    environment = creation.environment(spec, "s", {"f": 7}, device=device, is_embedded=True)
    return ServingConfig(**json.loads(environment["PYTEST_MME_SERVING"]))


def test_the_embedded_server_gets_the_specification_as_settings() -> None:
    config = settings(ServerSpec(admission="none", drain_s=1, grace_s=2, handler_requests=3, cpus=1))
    assert (config.admission, config.drain_s, config.grace_s, config.handler_requests) == ("none", 1, 2, 3)
    assert (config.cpus, config.device, config.known_bytes) == (1, "cpu", {"f": 7})


@pytest.mark.parametrize(
    ("asked", "device", "settled"), [("gpu", "cpu", "gpu"), (None, "gpu", "gpu"), ("cpu", "gpu", "cpu")]
)
def test_a_gpu_is_given_to_the_container_and_to_the_server(
    asked: Literal["cpu", "gpu"] | None, device: str, settled: str
) -> None:
    assert settings(ServerSpec(device=asked), device).device == settled


def test_the_container_has_no_limit_when_tensorflow_has_it() -> None:
    spec = ServerSpec(oom="tensorflow", memory_mib=100)
    assert settings(spec).memory_bytes == 100 * 2**20
    assert creation.limits(spec, is_embedded=True) == {}


def test_the_container_has_the_limit_when_the_image_cannot_give_it_to_tensorflow() -> None:
    limits = {"mem_limit": 100 * 2**20, "memswap_limit": 100 * 2**20}
    assert creation.limits(ServerSpec(oom="tensorflow", memory_mib=100), is_embedded=False) == limits
    assert creation.limits(ServerSpec(memory_mib=100), is_embedded=True) == limits


def test_other_images_get_the_platforms_environment_and_the_users_own_wins() -> None:
    spec = ServerSpec(env={"AWS_REGION": "eu-west-1", "MINE": "1"})
    environment = creation.environment(spec, "s", {}, device="cpu", is_embedded=False)
    assert environment[routes.MULTI_MODEL] == "true"
    assert (environment["AWS_REGION"], environment["MINE"]) == ("eu-west-1", "1")
    assert not [name for name in environment if name.startswith("PYTEST_MME")]


class Engine:
    """An engine that has the images that a test names, and records what it is asked to pull."""

    def __init__(self, *present: str) -> None:
        self.present, self.pulled = present, list[str]()
        self.images = self
        self.labels = routes.LABELS

    def get(self, name: str) -> Engine:
        if name not in self.present:
            raise ImageNotFound("no such image")
        return self

    def pull(self, name: str) -> Engine:
        self.pulled.append(name)
        return self


@pytest.mark.parametrize(
    ("name", "pull", "fetched"),
    [
        ("theirs:1", "missing", False),
        ("theirs:1", "always", True),
        ("theirs:1", "never", False),
        ("absent:1", "missing", True),
        ("pytest-mme-server:1", "always", False),
    ],
)
def test_an_image_is_pulled_when_the_setting_says_so(name: str, pull: Any, fetched: bool) -> None:
    engine: Any = Engine("theirs:1", "pytest-mme-server:1")
    find_image(engine, name, pull)
    assert engine.pulled == ([name] if fetched else [])


@pytest.mark.parametrize("pull", ["never", "missing", "always"])
def test_the_kits_own_image_is_never_pulled(pull: Any) -> None:
    engine: Any = Engine()
    with pytest.raises(UnavailableError, match="build it: pytest-mme image build mms"):
        find_image(engine, "pytest-mme-mms:9", pull)
    assert engine.pulled == []


def test_the_models_are_mounted_read_only(tmp_path: Path) -> None:
    mount = creation.mount(tmp_path)
    assert (mount["Target"], mount["Source"], mount["ReadOnly"]) == (routes.MODELS_FOLDER, str(tmp_path), True)
