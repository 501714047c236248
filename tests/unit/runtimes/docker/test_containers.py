"""What a container is created with, and where an image is looked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from docker.errors import ImageNotFound

from pytest_mme.contract import routes
from pytest_mme.errors import UnavailableError
from pytest_mme.runtimes.docker import containers
from pytest_mme.runtimes.docker.engine import find_image
from pytest_mme.runtimes.spec import ServerSpec
from pytest_mme.serving.config import ServingConfig


def told(spec: ServerSpec, device: str = "cpu") -> ServingConfig:
    """The settings that the embedded server in a container is given."""
    environment = containers.environment(spec, "s", {"f": 7}, device=device, tells=True)
    return ServingConfig(**json.loads(environment["PYTEST_MME_SERVING"]))


def test_the_embedded_server_is_told_what_it_must_be_like() -> None:
    config = told(ServerSpec(admission="none", drain_s=1, grace_s=2, handler_requests=3, cpus=1))
    assert (config.admission, config.drain_s, config.grace_s, config.handler_requests) == ("none", 1, 2, 3)
    assert (config.cpus, config.device, config.known_bytes) == (1, "cpu", {"f": 7})


@pytest.mark.parametrize(
    ("asked", "device", "settled"), [("gpu", "cpu", "gpu"), (None, "gpu", "gpu"), ("cpu", "gpu", "cpu")]
)
def test_a_gpu_is_for_the_server_to_use_and_not_only_to_see(
    asked: Literal["cpu", "gpu"] | None, device: str, settled: str
) -> None:
    assert told(ServerSpec(device=asked), device).device == settled


def test_tensorflows_own_limit_is_no_limit_of_the_container() -> None:
    spec = ServerSpec(oom="tensorflow", memory_mib=100)
    assert told(spec).memory_bytes == 100 * 2**20
    assert containers.limits(spec, tells=True) == {}


def test_where_it_cannot_be_tensorflows_the_container_has_the_limit() -> None:
    limits = {"mem_limit": 100 * 2**20, "memswap_limit": 100 * 2**20}
    assert containers.limits(ServerSpec(oom="tensorflow", memory_mib=100), tells=False) == limits
    assert containers.limits(ServerSpec(memory_mib=100), tells=True) == limits


def test_other_images_get_what_the_platform_sets_and_the_users_own_wins() -> None:
    spec = ServerSpec(env={"AWS_REGION": "eu-west-1", "MINE": "1"})
    environment = containers.environment(spec, "s", {}, device="cpu", tells=False)
    assert environment[routes.MULTI_MODEL] == "true"
    assert (environment["AWS_REGION"], environment["MINE"]) == ("eu-west-1", "1")
    assert not [name for name in environment if name.startswith("PYTEST_MME")]


class Engine:
    """Has the images that a test names, and tells what it was asked to fetch."""

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
def test_an_image_is_fetched_when_it_should_be(name: str, pull: Any, fetched: bool) -> None:
    engine: Any = Engine("theirs:1", "pytest-mme-server:1")
    find_image(engine, name, pull)
    assert engine.pulled == ([name] if fetched else [])


@pytest.mark.parametrize("pull", ["never", "missing", "always"])
def test_our_own_image_is_built_and_never_fetched(pull: Any) -> None:
    engine: Any = Engine()
    with pytest.raises(UnavailableError, match="build it: pytest-mme image build mms"):
        find_image(engine, "pytest-mme-mms:9", pull)
    assert engine.pulled == []


def test_the_models_are_mounted_to_be_read_only(tmp_path: Path) -> None:
    mount = containers.mount(tmp_path)
    assert (mount["Target"], mount["Source"], mount["ReadOnly"]) == (routes.MODELS_FOLDER, str(tmp_path), True)
