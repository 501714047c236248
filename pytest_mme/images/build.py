"""Builds the project's images; an image that is up to date is not built again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_mme import versions
from pytest_mme.errors import ImageBuildError
from pytest_mme.images.context import as_tar, code_digest, context, digest

if TYPE_CHECKING:
    import docker

DEFAULT_BASE = "python:3.11-slim"
"""Its Python has wheels of every TensorFlow from 2.12 on."""
CONTENT = "pytest-mme.content"
"""The label with the digest of what an image was built from."""
CODE = "pytest-mme.code"
"""The label with the digest of the code of this package in an image, also in images built on it."""
TENSORFLOW = "pytest-mme.tensorflow"
"""The label with the TensorFlow version of an image."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_STEP = re.compile(r"step (\d+)/(\d+) ?: (.*)", re.IGNORECASE)  # as Docker writes it, or Podman
_SHOWN_LINES = 30

Progress = Callable[[int, int, str], None]
"""Called for each step with its number, the number of steps, and a description."""


def tag(image: str, tensorflow: str) -> str:
    """Return the tag of the image *image* with that TensorFlow."""
    return f"pytest-mme-{image}:{tensorflow}"


def default_image() -> str:
    """Return the container runtime's default image: the embedded server with `versions.default`."""
    return tag("server", versions.default())


def build(
    engine: docker.DockerClient,
    image: str,
    *,
    tensorflow: str,
    base: str = DEFAULT_BASE,
    ca_bundle: Path | None = None,
    progress: Progress = lambda *_: None,
) -> bool:
    """Build the image under its `tag`; returns False when it is up to date already.

    *base*: an image of Debian 12 or later, with or without Python. *ca_bundle*: certificates to trust while building.
    Raises `ImageBuildError`, with the end of the build's output.
    """
    from docker.errors import APIError

    content = context(image, ca_bundle=ca_bundle)
    arguments = {"BASE": base, "TENSORFLOW": tensorflow}
    name = tag(image, tensorflow)
    # The engine keeps these arguments out of the image.
    proxies = {one: found for one in _PROXIES if (found := os.environ.get(one) or os.environ.get(one.lower()))}
    try:
        wanted = digest(content, {**arguments, "BASE": _identity(engine, base, progress)})
        if _label(engine, name) == wanted:
            return False
        steps = engine.api.build(
            fileobj=as_tar(content),
            custom_context=True,
            tag=name,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs=arguments | proxies,
            labels={CONTENT: wanted, CODE: code_digest(), TENSORFLOW: tensorflow},
        )
    except APIError as error:
        raise ImageBuildError(name, str(error.explanation), "") from error
    _follow(steps, name, progress)
    return True


def _follow(steps: Iterator[Any], name: str, progress: Progress) -> None:
    """Report the build's *steps* to the end; raises `ImageBuildError` when the build has failed."""
    failed, output = None, []
    for step in steps:
        failed = step.get("error", failed)
        text = step.get("stream") or step.get("status") or ""
        if line := text.rstrip():
            output.append(line)
        if found := _STEP.match(line):
            progress(int(found[1]), int(found[2]), found[3])
    if failed is not None:
        raise ImageBuildError(name, failed, "\n".join(output[-_SHOWN_LINES:]))


def _identity(engine: docker.DockerClient, base: str, progress: Progress) -> str:
    """Return the id of the base image, since its tag may move; fetch an image that is missing."""
    from docker.errors import ImageNotFound

    try:
        return str(engine.images.get(base).id)
    except ImageNotFound:
        progress(1, 1, f"fetching {base}")
        return str(engine.images.pull(base).id)


def _label(engine: docker.DockerClient, name: str) -> str | None:
    from docker.errors import ImageNotFound

    try:
        return engine.images.get(name).labels.get(CONTENT)
    except ImageNotFound:
        return None
